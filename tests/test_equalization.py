"""Channels made as large as their reader allows: the same function, by hand arithmetic, with less noise in int8."""

import keras
import numpy as np
import pytest
from keras import layers
from test_qat import lively

from cnn_app.export.quantization import equalization, simulation
from cnn_app.layers import GroupedConv2D

IMAGE = (6, 6, 3)
NETWORKS = ["mobilenet_v1", "mobilenet_v2", "resnext50_32x4d", "shufflenet_v1", "vgg11_bn"]


def network(*row):
    """`row` behind pixels, each 1x1 convolution of the first layer 10, 1 and 0.1 times as large."""
    image = x = keras.Input(IMAGE, name="image")
    for layer in [layers.Rescaling(1 / 255), layers.Conv2D(3, 1, name="first"), *row]:
        x = layer(x)
    model = keras.Model(image, x)
    model.get_layer("first").set_weights([np.eye(3)[None, None] * [10, 1, 0.1], np.array([0.0, 0.5, 0.05])])
    return simulation.folded(model)


def pixels(n=8):
    drawn = np.random.default_rng(0).integers(0, 256, (n, *IMAGE)).astype(np.float32)
    drawn[0, 0, 0] = 255  # every channel has its largest value
    return drawn


def test_in_front_of_a_depthwise_kernel_all_channels_become_half_as_large_as_the_largest():
    plain = network(layers.ReLU(), layers.ZeroPadding2D(1), layers.DepthwiseConv2D(3, name="second"))
    before, kernel = plain.predict_on_batch(pixels()), plain.get_layer("second").get_weights()[0]
    equalization.equalize(plain, {"image": pixels()})
    weights, bias = plain.get_layer("first").get_weights()
    # Largest values are 10, 1 + 0.5 and 0.1 + 0.05, so factors are 1, 5 / 1.5 and 5 / 0.15.
    np.testing.assert_allclose(np.diag(weights[0, 0]), [10, 5 / 1.5, 5 / 1.5], rtol=1e-6)
    np.testing.assert_allclose(bias, [0, 0.5 * 5 / 1.5, 0.05 * 5 / 0.15], rtol=1e-6)
    np.testing.assert_allclose(
        plain.get_layer("second").get_weights()[0][..., 2, 0], kernel[..., 2, 0] * 0.03, rtol=1e-6
    )
    np.testing.assert_allclose(plain.predict_on_batch(pixels()), before, atol=1e-5)


@pytest.mark.parametrize("row", [
    (layers.Activation("tanh"), layers.Conv2D(2, 1)),  # not the same function of a larger value
    (layers.ReLU(), layers.Flatten(), layers.Dense(2)),  # channels are no longer what the kernel reads
    (layers.ReLU(), layers.Activation("sigmoid")),
], ids=["tanh", "flat", "no reader"])  # fmt: skip
def test_what_has_no_such_reader_stays(row):
    plain = network(*row)
    before = plain.get_weights()
    equalization.equalize(plain, {"image": pixels()})
    for one, other in zip(before, plain.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_two_layers_read_stays():
    image = keras.Input(IMAGE, name="image")
    x = layers.Conv2D(3, 1, name="first", activation="relu")(layers.Rescaling(1 / 255)(image))
    model = keras.Model(image, layers.Add()([layers.Conv2D(3, 1)(x), x]))
    assert list(equalization._pairs(simulation.folded(model))) == []


def test_a_factor_is_where_the_noise_of_both_roundings_is_least():
    """Noise of rounded activations and of a rounded kernel, added up for factors around the one that is taken."""
    draw = np.random.default_rng(2)
    seen, kernel = np.maximum(draw.normal(0, [[4, 1, 0.2, 0.02]], (4000, 4)), 0), draw.normal(0, 1, (4, 6))
    reader = layers.Dense(6, use_bias=False)
    reader.build((None, 4))
    reader.set_weights([kernel])
    found = equalization._factors(reader, equalization.Seen(seen.min(0), seen.max(0), np.square(seen).mean(0)))

    def noise(factors):
        step, steps = seen.max() / 255, np.abs(kernel).max(0) / 127  # those of the kernel stay as they were
        taken = np.round(seen * factors / step) * step / factors
        read = np.round(kernel / factors[:, None] / steps) * steps * factors[:, None]
        return np.square(taken @ kernel - seen @ kernel).mean() + np.square(seen @ read - seen @ kernel).mean()

    assert found[0] == pytest.approx(1) and found[3] > found[2] > found[1] > 1
    assert noise(found) < min(noise(np.ones(4)), noise(seen.max() / seen.max(0)))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in NETWORKS[2:] else ()) for name in NETWORKS]
)
def test_a_network_stays_the_same_function(name):
    model, images = lively(name)
    plain = simulation.folded(model)
    wanted, before = plain.predict_on_batch(images), plain.get_weights()
    equalization.equalize(plain, {"image": images})
    np.testing.assert_allclose(plain.predict_on_batch(images), wanted, atol=2e-6 * np.ptp(wanted))
    assert any(not np.array_equal(one, other) for one, other in zip(before, plain.get_weights(), strict=True))


@pytest.mark.parametrize("reader", [
    lambda: layers.DepthwiseConv2D(3, name="second"), lambda: layers.Conv2D(4, 3, name="second"),
    lambda: GroupedConv2D(6, 3, groups=3, name="second"),
], ids=["depthwise", "dense", "grouped"])  # fmt: skip
def test_uneven_channels_round_less(reader):
    noise = []
    for evened in (False, True):
        keras.utils.set_random_seed(0)
        plain = network(layers.ReLU(), reader())
        wanted = plain.predict_on_batch(pixels())
        if evened:
            equalization.equalize(plain, {"image": pixels()})
            np.testing.assert_allclose(plain.predict_on_batch(pixels()), wanted, atol=1e-5 * np.ptp(wanted))
        rounding = simulation.simulated(plain, {"image": pixels()})
        kept = keras.Model(rounding.input, rounding.get_layer("second_int8").output)  # before what it gives is rounded
        noise.append(np.square(kept.predict_on_batch(pixels()) - wanted).mean())
    assert noise[1] < 0.9 * noise[0]


def test_the_range_of_a_tensor_never_grows():
    """A channel of -0.25 to 0.25 cannot become half as large as one of 6, where the lowest value of all is -1."""
    seen = equalization.Seen(np.array([-1.0, -0.25, 0.0, 0.0]), np.array([6.0, 0.25, 0.03, 0.0]), np.ones(4))
    reader = layers.DepthwiseConv2D(1)
    np.testing.assert_allclose(equalization._factors(reader, seen), [1, 2, 100, equalization.MOST / 2])
