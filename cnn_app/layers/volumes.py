"""Convolutions and maxima of clips (N, T, H, W, C), by kernels that images have.

A convolution over time and space is one over space of frames that have their neighbours in time beside them, as
channels: the same sums of products in another order. Behind `FramesApart` a frame is a record, (N * T, H, W, C).
"""

import functools

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("cnn_app")
class FramewiseConv3D(layers.Conv3D):
    """`keras.layers.Conv3D` of stride 1 that keeps the sides, computed by frames where there is no GPU.

    On a CPU that takes half the time where channels are few, and as long where they are many.
    """

    def __init__(self, filters, kernel_size, **base):
        super().__init__(filters, kernel_size, **{"padding": "same"} | base)
        assert self.padding == "same" and {*self.strides, *self.dilation_rate, self.groups} == {1}

    def call(self, x):
        if _has_gpu():
            return super().call(x)
        frames, height, width, channels = x.shape[1:]
        beside = stacked(ops.reshape(x, (-1, height, width, channels)), frames, self.kernel_size[0])
        y = ops.conv(beside, by_frames(ops.cast(self.kernel, x.dtype)), 1, "same", "channels_last")
        y = y if self.bias is None else ops.add(y, self.bias)
        return self.activation(ops.reshape(y, (-1, frames, height, width, self.filters)))


@keras.saving.register_keras_serializable("cnn_app")
class FramewiseMaxPooling3D(layers.MaxPooling3D):
    """`keras.layers.MaxPooling3D` of windows side by side, over space and then over time where there is no GPU.

    The gradient of TensorFlow's own takes five times as long on a CPU.
    """

    def __init__(self, pool_size, **base):
        super().__init__(pool_size, **{"padding": "same"} | base)
        assert self.padding == "same" and self.strides == self.pool_size

    def call(self, x):
        if _has_gpu():
            return super().call(x)
        (size, *window), (frames, *sides) = self.pool_size, x.shape[1:]
        y = ops.max_pool(ops.reshape(x, (-1, *sides)), window, window, "same", "channels_last")
        y = y if size == 1 else highest(y, frames, size)
        return ops.reshape(y, (-1, -(-frames // size), *y.shape[1:]))


def by_frames(kernel):
    """(kt, kh, kw, in, filters) as one of stacked frames, (kh, kw, kt * in, filters)."""
    time, height, width, channels, filters = kernel.shape
    return ops.reshape(ops.transpose(kernel, (1, 2, 0, 3, 4)), (height, width, time * channels, filters))


def stacked(x, frames: int, size: int):
    """Frames (N * T, H, W, C) with the `size` around each as channels, (N * T, H, W, size * C); zeros beyond the ends.

    Where one clip is known to be all, no fifth axis is needed, which mobile kernels are slow at.
    """
    if size == 1:
        return x
    before, sides = (size - 1) // 2, x.shape[1:]
    alone = x.shape[0] == frames
    x = x if alone else ops.reshape(x, (-1, frames, *sides))
    axis = 0 if alone else 1
    rest = ((0, 0),) * 3
    padded = ops.pad(x, ((before, size - 1 - before), *rest) if alone else ((0, 0), (before, size - 1 - before), *rest))
    cut = (slice(None),) * axis
    beside = ops.concatenate([padded[(*cut, slice(start, start + frames))] for start in range(size)], axis=-1)
    return beside if alone else ops.reshape(beside, (-1, *sides[:-1], size * sides[-1]))


def highest(x, frames: int, size: int):
    """Maxima over time of `size` frames, of fewer at the end: (N * T, H, W, C) -> (N * ceil(T / size), H, W, C)."""
    height, width, channels = x.shape[1:]
    lines = ops.reshape(x, (-1, frames, height * width, channels))
    return ops.reshape(
        ops.max_pool(lines, (size, 1), (size, 1), "same", "channels_last"), (-1, height, width, channels)
    )


@functools.cache
def _has_gpu() -> bool:
    """Whether there may be kernels for three dimensions."""
    if keras.backend.backend() != "tensorflow":
        return True
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


@keras.saving.register_keras_serializable("cnn_app")
class FramesApart(layers.Layer):
    """(N, T, H, W, C) -> (N * T, H, W, C)."""

    def call(self, x):
        return ops.reshape(x, (-1, *x.shape[2:]))

    def compute_output_shape(self, shape):
        return (None, *shape[2:])


class OfFrames(layers.Layer):
    """What takes frames as records, (N * T, H, W, C), and must know how many are a clip."""

    def __init__(self, frames, **base):
        super().__init__(**base)
        self.frames = frames

    def get_config(self):
        return super().get_config() | {"frames": self.frames}


@keras.saving.register_keras_serializable("cnn_app")
class FramesTogether(OfFrames):
    """(N * T, H, W, C) -> (N, T, H, W, C)."""

    def call(self, x):
        return ops.reshape(x, (-1, self.frames, *x.shape[1:]))

    def compute_output_shape(self, shape):
        return (None, self.frames, *shape[1:])


@keras.saving.register_keras_serializable("cnn_app")
class FrameStack(OfFrames):
    """`stacked` as a layer."""

    def __init__(self, frames, size, **base):
        super().__init__(frames, **base)
        self.size = size

    def call(self, x):
        return stacked(x, self.frames, self.size)

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.size * shape[-1])

    def get_config(self):
        return super().get_config() | {"size": self.size}


@keras.saving.register_keras_serializable("cnn_app")
class FrameMax(OfFrames):
    """`highest` as a layer."""

    def __init__(self, frames, size, **base):
        super().__init__(frames, **base)
        self.size = size

    def call(self, x):
        return highest(x, self.frames, self.size)

    def compute_output_shape(self, shape):
        return (None, *shape[1:])

    def get_config(self):
        return super().get_config() | {"size": self.size}
