"""Convolutions and maxima of clips (N, T, H, W, C), by kernels that images have.

A convolution over time and space is one over space of frames that have their neighbours in time beside them, as
channels: the same sums of products in another order. Behind `FramesApart` a frame is a record, (N * T, H, W, C).
"""

import keras
from keras import layers, ops


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
    """Maxima of `size` frames after each other, of fewer at the end: (N * T, H, W, C) -> (N * ceil(T / size), ...)."""

    def __init__(self, frames, size, **base):
        super().__init__(frames, **base)
        self.size = size

    def call(self, x):
        height, width, channels = x.shape[1:]
        lines = ops.reshape(x, (-1, self.frames, height * width, channels))
        found = ops.max_pool(lines, (self.size, 1), (self.size, 1), "same", "channels_last")
        return ops.reshape(found, (-1, height, width, channels))

    def compute_output_shape(self, shape):
        return (None, *shape[1:])

    def get_config(self):
        return super().get_config() | {"size": self.size}
