"""What the middle of a layer's maps really sees of an image: Luo et al., arXiv:1701.04128, section 2.

The gradient of the middle by the pixels, of all channels, as shares of its sum. Where it is not 0 lies within the
closed form of `receptive_field`; most of it lies in far fewer pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from cnn_app.analysis.receptive_field import views

SHARES = (0.5, 0.95)  # of the gradient, for which the side of a square is told


@dataclass(frozen=True)
class Field:
    """`shares` (h, w) add up to 1 where there is any gradient."""

    shares: np.ndarray
    row: int  # of the map's middle
    column: int
    rows: tuple[int, int]  # the first and the last pixel that it can see, which may lie outside
    columns: tuple[int, int]

    def square(self, share: float) -> tuple[int, int, int]:
        """Top, left and side of the smallest square around the middle that has this share of the gradient."""
        sums = np.pad(self.shares, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
        high, wide = self.shares.shape
        middle = [(first + last) / 2 for first, last in (self.rows, self.columns)]
        for side in range(1 if middle[0].is_integer() else 2, 2 * max(high, wide) + 2, 2):
            top, left = (math.ceil(place - side / 2) for place in middle)
            low, right = min(high, max(0, top + side)), min(wide, max(0, left + side))
            above, before = min(high, max(0, top)), min(wide, max(0, left))
            if sums[low, right] - sums[above, right] - sums[low, before] + sums[above, before] >= share - 1e-9:
                return top, left, side
        return 0, 0, max(high, wide)


def field(model: keras.Model, layer: str, image: np.ndarray, *, positive: bool = False) -> Field:
    """Of an image (h, w, c).

    positive: with positive weights and without ReLUs nothing cancels, so that all that can be seen is.
    """
    network = _positive(model) if positive else model
    maps = keras.Model(network.input, network.get_layer(layer).output)
    pixels = tf.convert_to_tensor(image[None], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        found = maps(pixels, training=False)
        row, column = (side // 2 for side in found.shape[1:3])
        middle = tf.reduce_sum(found[:, row, column])
    seen = np.abs(tape.gradient(middle, pixels).numpy()[0]).sum(-1)
    view = views(model)[layer]
    whole = (0, image.shape[0] - 1), (0, image.shape[1] - 1)
    rows, columns = whole if view.windows is None else (view.at(row), view.at(column))
    return Field(seen / max(float(seen.sum()), 1e-30), row, column, rows, columns)


def extent(found: Field) -> tuple[int, int]:
    """The height and the width of what is not 0."""
    there = [np.flatnonzero(found.shares.any(axis)) for axis in (1, 0)]
    return tuple(int(places[-1] - places[0] + 1) if len(places) else 0 for places in there)  # type: ignore[return-value]


def _positive(model: keras.Model) -> keras.Model:
    """`model` with all kernels positive, linear, and pools of means."""

    def made(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if isinstance(layer, keras.layers.MaxPooling2D):
            return keras.layers.AveragePooling2D.from_config(config)
        if isinstance(layer, keras.layers.ReLU | keras.layers.Activation):
            return keras.layers.Activation("linear", name=layer.name)
        return layer.__class__.from_config(config | ({"activation": "linear"} if "activation" in config else {}))

    linear = keras.models.clone_model(model, clone_function=made)
    for weight in linear.trainable_weights:
        weight.assign(np.full(weight.shape, 1 / max(1, math.prod(weight.shape[:-1])), np.float32))
    return linear
