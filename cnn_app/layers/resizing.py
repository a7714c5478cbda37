"""Maps made larger."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("cnn_app")
class NearestUpSampling2D(keras.layers.UpSampling2D):
    """Keras's nearest upsampling, made of concatenations: its tiles of five dimensions no TFLite delegate takes."""

    def call(self, x):
        assert self.interpolation == "nearest"
        return nearest(x, *self.size)


def nearest(x, rows: int, columns: int):
    """Each position of a map as `rows` times `columns` of them."""
    _, height, width, channels = x.shape
    y = ops.reshape(ops.concatenate([x] * columns, axis=-1), (-1, height, 1, columns * width * channels))
    return ops.reshape(ops.concatenate([y] * rows, axis=2), (-1, rows * height, columns * width, channels))


@keras.saving.register_keras_serializable("cnn_app")
class FixedConv2DTranspose(keras.layers.Conv2DTranspose):
    """A transposed convolution that stays as its initializer made it."""

    def add_weight(self, *shape, **options):
        return super().add_weight(*shape, **options | {"trainable": False})


@keras.saving.register_keras_serializable("cnn_app")
class BilinearResizing(keras.layers.Layer):
    """Maps of another size (height, width), pixels at their middles; one operator of TFLite and of ONNX."""

    def __init__(self, size, **options):
        super().__init__(**options)
        self.size = tuple(size)

    def call(self, x):
        return ops.image.resize(x, self.size, interpolation="bilinear")

    def compute_output_shape(self, shape):
        return (shape[0], *self.size, shape[3])

    def get_config(self):
        return super().get_config() | {"size": self.size}
