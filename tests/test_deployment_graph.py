"""The deployment graph is the same function: padding in front of windows, pools and kernels that become others."""

import keras
import numpy as np
import pytest
from keras import layers

from cnn_app.export import graph
from cnn_app.layers import PadShortcut

SAME = ((0, 1), (0, 1))  # what TensorFlow's `same` adds to 8 pixels for windows of 3 in steps of 2


def pool(**options):
    return layers.MaxPooling2D(3, 2, **options)


ROWS = {
    "same": ([layers.ReLU(), layers.ZeroPadding2D(SAME), pool()], "same"),
    "of negative numbers": ([layers.ZeroPadding2D(SAME), pool()], "valid"),
    "on both sides": ([layers.ReLU(), layers.ZeroPadding2D(1), pool()], "valid"),
    "a convolution": ([layers.ZeroPadding2D(SAME), layers.Conv2D(2, 3, 2)], "same"),
    "a convolution on both sides": ([layers.ZeroPadding2D(1), layers.Conv2D(2, 3, 2)], "valid"),
    "a mean": ([layers.AveragePooling2D(2)], "valid"),
    "a shortcut": ([PadShortcut(9, 2, before=2)], "valid"),
    "transposed": ([layers.Conv2DTranspose(2, 1, 2)], "valid"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_windows_stay_the_same_function(name):
    row, padding = ROWS[name]
    keras.utils.set_random_seed(0)
    image = x = keras.Input((8, 8, 3), name="image")
    for layer in [layers.Conv2D(4, 1, name="mixed"), *row]:
        x = layer.__class__.from_config(layer.get_config())(x)
    model = keras.Model(image, x)
    copy, pixels = graph.deployable(model), np.random.default_rng(0).normal(size=(4, 8, 8, 3))
    np.testing.assert_allclose(copy.predict_on_batch(pixels), model.predict_on_batch(pixels), atol=1e-5)
    assert getattr(copy.layers[-1], "padding", "valid") == padding


def test_what_two_windows_read_is_padded_in_front_of_them():
    image = keras.Input((8, 8, 3), name="image")
    x = layers.ZeroPadding2D(SAME)(layers.ReLU()(image))
    model = keras.Model(
        image,
        layers.Concatenate()(
            [pool()(x), layers.Conv2D(2, 3, 2)(x), layers.Conv2D(2, 1, 2)(layers.Cropping2D(((0, 1), (0, 1)))(x))]
        ),
    )
    copy, pixels = graph.deployable(model), np.random.default_rng(0).normal(size=(4, 8, 8, 3))
    np.testing.assert_allclose(copy.predict_on_batch(pixels), model.predict_on_batch(pixels), atol=1e-5)
