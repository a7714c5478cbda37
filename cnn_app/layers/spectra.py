"""What an ear makes of a wave, in a graph: waves (N, samples) -> (N, frames, 1, bands).

Everything is a convolution with a fixed kernel, which every runtime has, and no weight: windowed cosines and sines at a
stride give the spectrum of each frame (Allen and Rabiner 1977), squares its power, a 1x1 convolution the bands of the
mel scale, another one the cepstrum (Davis and Mermelstein 1980).
"""

import math

import keras
import numpy as np
from keras import ops

FLOOR = 1e-8  # of power: -80 dB of a sine at full scale


def hann(length: int) -> np.ndarray:
    """A periodic Hann window (length,)."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


def spectral_kernel(frame: int, points: int) -> np.ndarray:
    """Windowed cosines and sines (frame, points + 2): the real, then the imaginary parts of a DFT of `points`.

    Scaled so that a sine of amplitude 1 has the power 1 at its frequency.
    """
    window = hann(frame) / (hann(frame).sum() / 2)
    angles = 2 * np.pi * np.outer(np.arange(frame), np.arange(points // 2 + 1)) / points
    return np.concatenate([np.cos(angles), -np.sin(angles)], 1) * window[:, None]


def mel(hz):
    """The mel scale as HTK has it."""
    return 2595 * np.log10(1 + np.asarray(hz) / 700)


def mel_matrix(rate: int, points: int, bands: int, low: float, high: float) -> np.ndarray:
    """Triangles (points / 2 + 1, bands), equally wide on the mel scale from `low` to `high` Hz, each 1 at its peak."""
    places = mel(np.arange(points // 2 + 1) * rate / points)[:, None]
    edges = np.linspace(mel(low), mel(high), bands + 2)
    rising = (places - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - places) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))


def dct_matrix(bands: int, count: int) -> np.ndarray:
    """The first `count` vectors of the orthonormal DCT-II (bands, count)."""
    angles = np.pi / bands * np.outer(np.arange(bands) + 0.5, np.arange(count))
    return np.cos(angles) * np.where(np.arange(count), np.sqrt(2 / bands), np.sqrt(1 / bands))


def points_of(frame: int) -> int:
    """The power of two that a frame fits in."""
    return 2 ** math.ceil(math.log2(frame))


def pointwise(x, matrix: np.ndarray):
    """The matrix (channels, others) at each place."""
    return ops.conv(x, ops.convert_to_tensor(matrix[None, None], x.dtype), padding="valid", data_format="channels_last")


@keras.saving.register_keras_serializable("cnn_app")
class LogMel(keras.layers.Layer):
    """Waves (N, samples) in [-1, 1] at `rate` -> log power in bands of the mel scale, (N, frames, 1, bands).

    frame, hop: samples that a frame has, and from one to the next; there are 1 + (samples - frame) // hop. `samples` is
        a multiple of their greatest common divisor.
    Power is told from -1 at FLOOR, which silence has, to 1 at that of a sine at full scale.
    """

    def __init__(self, rate, frame, hop, bands, low=20.0, high=None, **base):
        super().__init__(**base)
        self.rate, self.frame, self.hop, self.bands, self.low = rate, frame, hop, bands, low
        self.high = rate / 2 if high is None else high

    def call(self, x):
        points, step = points_of(self.frame), math.gcd(self.frame, self.hop)
        pieces = ops.reshape(x, (-1, x.shape[1] // step, 1, step))  # channels are what kernels are fast at
        kernel = spectral_kernel(self.frame, points).reshape(self.frame // step, 1, step, -1) / math.sqrt(FLOOR)
        triangles = mel_matrix(self.rate, points, self.bands, self.low, self.high)
        found = ops.conv(pieces, ops.convert_to_tensor(kernel, x.dtype), strides=(self.hop // step, 1), padding="valid",
                         data_format="channels_last")  # fmt: skip
        power = pointwise(ops.square(found), np.concatenate([triangles, triangles]))
        return ops.log(power + 1) * (-2 / math.log(FLOOR)) - 1  # by FLOOR, which would be zero in float16

    def compute_output_shape(self, shape):
        return (shape[0], 1 + (shape[1] - self.frame) // self.hop, 1, self.bands)

    def get_config(self):
        own = ("rate", "frame", "hop", "bands", "low", "high")
        return super().get_config() | {name: getattr(self, name) for name in own}


@keras.saving.register_keras_serializable("cnn_app")
class Cepstrum(keras.layers.Layer):
    """Log power in bands (N, frames, 1, bands) -> the first `count` coefficients of its cosine transform."""

    def __init__(self, count, **base):
        super().__init__(**base)
        self.count = count

    def call(self, x):
        return pointwise(x, dct_matrix(x.shape[-1], self.count))

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.count)

    def get_config(self):
        return super().get_config() | {"count": self.count}


@keras.saving.register_keras_serializable("cnn_app")
class MinusMean(keras.layers.Layer):
    """Features (N, frames, 1, C) without their mean over time, which tells of the microphone and of loudness."""

    def call(self, x):
        return x - ops.mean(x, 1, keepdims=True)

    def compute_output_shape(self, shape):
        return shape


@keras.saving.register_keras_serializable("cnn_app")
class StatisticsPooling(keras.layers.Layer):
    """Mean and standard deviation over time: (N, frames, 1, C) -> (N, 2 C)."""

    def call(self, x):
        mean = ops.mean(x, (1, 2), keepdims=True)
        variance = ops.mean(ops.square(x - mean), (1, 2))
        return ops.concatenate([ops.mean(x, (1, 2)), ops.sqrt(variance + 1e-5)], -1)

    def compute_output_shape(self, shape):
        return (shape[0], 2 * shape[-1])


IN_FLOAT = (LogMel, Cepstrum, MinusMean, StatisticsPooling)  # whose values span too many magnitudes for 8 bits
