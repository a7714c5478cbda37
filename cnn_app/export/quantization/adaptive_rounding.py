"""Each value of a kernel is rounded so that what its layer gives changes least, not so that the value itself does.

The objective is AdaRound's (Nagel et al., arXiv:2004.10568, section 3): the squared error of a layer's outputs on real
images, (w - q)' H (w - q) for each output channel, H the covariance of what the kernel reads. It is minimised by
coordinate descent (QuantEase, Behdin et al., arXiv:2309.01885, section 3), up or down, as AdaRound does: each value in
turn takes the step that is best beside the others. A shift of the mean is left to the bias.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from cnn_app.layers import GroupedConv2D

MOST_INPUTS = 2**13  # of one output; beyond, each value is rounded by itself
SEEN = 2**14  # places that the covariance is of
DAMPING = 0.01  # of the mean variance
BLOCK = 128  # values of an output whose slopes are computed together
SWEEPS = 4  # more change next to nothing


def round_kernel(layer: keras.Layer, inputs: list) -> None:
    """Put the kernel of a convolution or dense layer on the grid of its int8 values; inputs: batches it reads."""
    kernel, *bias = layer.get_weights()
    apart = _by_group(layer, kernel)
    if apart.shape[1] > MOST_INPUTS:
        return
    rounded = rounded_rows(apart, _covariance(layer, apart.shape[0], inputs))
    layer.set_weights([_joined(layer, rounded, kernel.shape), *bias])


def rounded_rows(kernel: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """kernel (groups, inputs, outputs) with each output's values on 255 steps; covariance (groups, inputs, inputs)."""
    inputs, largest = kernel.shape[1], np.abs(kernel).argmax(1)  # the largest sets the scale, and stays
    scale = np.maximum(np.abs(kernel).max(1), 1e-12) / 127
    damping = DAMPING * np.trace(covariance, axis1=1, axis2=2) / inputs + 1e-12
    spread = covariance + damping[:, None, None] * np.eye(inputs)
    below = np.floor(kernel / scale[:, None])
    rounded = np.round(kernel / scale[:, None]) * scale[:, None]
    for _ in range(SWEEPS):
        for start in range(0, inputs, BLOCK):
            rows = range(start, min(start + BLOCK, inputs))
            pull = spread[:, rows] @ (kernel - rounded)
            for place, row in enumerate(rows):
                best = rounded[:, row] + pull[:, place] / spread[:, row, row, None]
                best = np.clip(np.round(best / scale), below[:, row], np.minimum(below[:, row] + 1, 127)) * scale
                change = np.where(largest == row, 0, best - rounded[:, row])
                rounded[:, row] += change
                pull -= spread[:, rows, row, None] * change[:, None]
    return rounded.astype(kernel.dtype)


def _covariance(layer: keras.Layer, groups: int, inputs: list) -> np.ndarray:
    """Of what each group of outputs reads, (groups, inputs, inputs)."""
    images = sum(len(batch) for batch in inputs)
    seen = [_windows(layer, batch[i : i + 1], -(-SEEN // images)) for batch in inputs for i in range(len(batch))]
    rows = np.concatenate(seen)  # (places, kernel places, channels)
    rows = rows.reshape(*rows.shape[:2], groups, -1).transpose(2, 0, 1, 3).reshape(groups, len(rows), -1)
    rows -= rows.mean(1, keepdims=True)
    return (rows.transpose(0, 2, 1) @ rows / rows.shape[1]).astype(np.float64)


def _windows(layer: keras.Layer, image, most: int) -> np.ndarray:
    """Up to `most` of the windows that the kernel lies over, (places, kernel places, channels)."""
    import tensorflow as tf

    if isinstance(layer, layers.Dense):
        windows = np.reshape(image, (-1, 1, image.shape[-1]))
    else:
        size, strides = _pair(layer.kernel_size), _pair(layer.strides)
        dilation = _pair(layer.dilation if isinstance(layer, GroupedConv2D) else layer.dilation_rate)
        found = tf.image.extract_patches(image, (1, *size, 1), (1, *strides, 1), (1, *dilation, 1),
                                         layer.padding.upper())  # fmt: skip
        windows = found.numpy().reshape(-1, size[0] * size[1], image.shape[-1])
    return windows[np.linspace(0, len(windows) - 1, min(most, len(windows))).round().astype(int)]


def _pair(value) -> tuple[int, int]:
    return tuple(value) if isinstance(value, tuple | list) else (value, value)


def _by_group(layer: keras.Layer, kernel: np.ndarray) -> np.ndarray:
    """(groups, inputs of an output, outputs)."""
    if isinstance(layer, layers.DepthwiseConv2D):
        return kernel.reshape(-1, *kernel.shape[2:]).transpose(1, 0, 2)
    groups = layer.groups if isinstance(layer, GroupedConv2D) else 1
    flat = kernel.reshape(-1, groups, kernel.shape[-1] // groups)
    return flat.transpose(1, 0, 2)


def _joined(layer: keras.Layer, apart: np.ndarray, shape: tuple) -> np.ndarray:
    """`_by_group` undone."""
    return apart.transpose(1, 0, 2).reshape(shape)
