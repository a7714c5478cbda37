"""Pools that remember where their maxima were, and what puts values back there."""

import keras
from keras import ops

from cnn_app.layers.resizing import nearest


@keras.saving.register_keras_serializable("cnn_app")
class MaxPoolingWithArgmax(keras.layers.Layer):
    """2x2 maxima of even sides, and switches (N, H, W, C): 1 at the first maximum of each window, elsewhere 0.

    Made of reshapes and slices of four dimensions, which TFLite and ONNX have.
    """

    pool_size, strides, padding = (2, 2), (2, 2), "valid"

    def call(self, x):
        _, height, width, channels = x.shape
        pooled = ops.max_pool(x, 2, 2, data_format="channels_last")
        rows = ops.split(ops.reshape(x, (-1, height // 2, 2, width * channels)), 2, axis=2)
        pairs = [ops.reshape(row, (-1, height // 2, width // 2, 2 * channels)) for row in rows]
        left, switches = 1.0, []  # what no earlier place of the window was
        for value in [part for pair in pairs for part in ops.split(pair, 2, axis=-1)][:3]:
            here = ops.cast(ops.greater_equal(value, pooled), x.dtype) * left
            left = left - here
            switches.append(here)
        switches.append(left)
        halves = [ops.concatenate(switches[i : i + 2], axis=-1) for i in (0, 2)]
        lines = [ops.reshape(half, (-1, height // 2, 1, width * channels)) for half in halves]
        return pooled, ops.reshape(ops.concatenate(lines, axis=2), (-1, height, width, channels))

    def compute_output_shape(self, shape):
        count, height, width, channels = shape
        assert height % 2 == width % 2 == 0, f"sides {height} and {width} are not even"
        return (count, height // 2, width // 2, channels), tuple(shape)


@keras.saving.register_keras_serializable("cnn_app")
class MaxUnpooling(keras.layers.Layer):
    """Each value of the first input where the second, the switches of a 2x2 pool, has a 1; zeros elsewhere."""

    def call(self, inputs):
        x, switches = inputs
        return nearest(x, 2, 2) * switches

    def compute_output_shape(self, shapes):
        return shapes[1]
