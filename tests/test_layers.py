import keras
import numpy as np
import pytest
from keras import ops

from cnn_app.layers import ChannelShuffle, GroupedConv2D, PadShortcut, block_diagonal, merged_blocks


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("channels", "filters", "groups"), [(12, 24, 3), (32, 64, 8), (64, 64, 32), (48, 24, 2)])
def test_grouped_convolution_equals_a_convolution_of_each_part(
    channels, filters, groups, kernel_size, strides, padding
):
    x = np.random.default_rng(0).normal(size=(2, 7, 7, channels)).astype("float32")
    outputs = []
    for lowering in ("blocks", "native"):
        keras.utils.set_random_seed(1)
        layer = GroupedConv2D(filters, kernel_size, strides=strides, padding=padding, groups=groups, use_bias=True,
                              lowering=lowering)  # fmt: skip
        outputs.append(np.asarray(layer(x)))
        assert layer.compute_output_shape(x.shape) == outputs[-1].shape
    kernels = np.split(np.asarray(layer.kernel), groups, axis=-1)
    parts = [
        ops.conv(part, kernel, strides, padding, data_format="channels_last")
        for part, kernel in zip(np.split(x, groups, axis=-1), kernels, strict=True)
    ]
    expected = np.concatenate([np.asarray(part) for part in parts], axis=-1)
    for output in outputs:
        np.testing.assert_allclose(output, expected, atol=1e-4)


def test_grouped_convolution_learns_like_its_parts():
    """The gradient of merged blocks reaches the grouped kernel, and nothing leaks between groups."""
    import tensorflow as tf

    x = tf.random.normal((2, 5, 5, 16))
    gradients = []
    for lowering in ("blocks", "auto"):
        keras.utils.set_random_seed(1)
        layer = GroupedConv2D(16, 3, groups=8, lowering=lowering)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x) ** 2)
        gradients.append(tape.gradient(loss, layer.kernel.value).numpy())
    np.testing.assert_allclose(*gradients, atol=1e-4)
    assert np.abs(gradients[0]).min() > 0


def test_block_diagonal_kernel_by_hand():
    kernel = np.arange(1, 9, dtype="float32").reshape(1, 1, 1, 8)  # 4 groups of one channel with two filters
    first, second = (np.asarray(part)[0, 0] for part in block_diagonal(ops.convert_to_tensor(kernel), 4, 2))
    np.testing.assert_array_equal(first, [[1, 2, 0, 0], [0, 0, 3, 4]])
    np.testing.assert_array_equal(second, [[5, 6, 0, 0], [0, 0, 7, 8]])


@pytest.mark.parametrize(
    ("groups", "channels", "blocks"), [(32, 128, 8), (32, 256, 16), (32, 1024, 32), (3, 240, 3), (3, 24, 1), (7, 14, 1)]
)
def test_groups_merge_into_blocks_of_sixteen_channels(groups, channels, blocks):
    assert merged_blocks(groups, channels) == blocks


def test_channel_shuffle_by_hand():
    x = np.arange(6, dtype="float32").reshape(1, 1, 1, 6)  # groups (0, 1), (2, 3), (4, 5)
    np.testing.assert_array_equal(np.asarray(ChannelShuffle(3)(x)).ravel(), [0, 2, 4, 1, 3, 5])


@pytest.mark.parametrize(("before", "expected"), [(0, [1, 2, 0, 0]), (1, [0, 1, 2, 0])])
def test_pad_shortcut_by_hand(before, expected):
    x = np.zeros((1, 4, 4, 2), "float32")
    x[0, ::2, ::2] = [1, 2]  # only even positions are kept
    y = np.asarray(PadShortcut(4, 2, before=before)(x))
    assert y.shape == (1, 2, 2, 4)
    np.testing.assert_array_equal(y.reshape(-1, 4), [expected] * 4)


@pytest.mark.parametrize(
    "layer",
    [GroupedConv2D(8, 3, groups=2, strides=2, name="g"), ChannelShuffle(2, name="s"), PadShortcut(8, 2, name="p")],
)
def test_layers_survive_their_config(layer):
    copy = layer.__class__.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
