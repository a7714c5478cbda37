"""Random numbers of augmentation: by a batch's seed and what they are for, so that no two uses share any."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence

import tensorflow as tf

ATTEMPTS = 10  # at a box that lies within the image


def uniform(seed: tf.Tensor, use: str, shape: tuple, low: float = 0.0, high: float = 1.0) -> tf.Tensor:
    """Float32 of `shape` from [low, high), by `seed`, int64 (2,), and the name of their use."""
    own = tf.random.experimental.stateless_fold_in(seed, tf.constant(zlib.crc32(use.encode()), tf.int64))
    return tf.random.stateless_uniform(shape, own, low, high)


def boxes(
    seed: tf.Tensor, use: str, number: tf.Tensor, sides: Sequence, area: tuple[float, float],
    ratio: tuple[float, float], otherwise: Sequence,
) -> tf.Tensor:  # fmt: skip
    """Boxes (top, left, height, width) in whole pixels, int32 (number, 4), anywhere in an image of `sides`.

    A share of the image's `area` and the logarithm of width by height are uniform. The first of ten that fits is taken,
    or else a box of height and width `otherwise`.
    """
    high, wide = (tf.cast(side, tf.float32) for side in sides)
    shape = (number, ATTEMPTS)
    areas = uniform(seed, f"{use}: area", shape, *area) * high * wide
    ratios = tf.exp(uniform(seed, f"{use}: ratio", shape, math.log(ratio[0]), math.log(ratio[1])))
    heights, widths = tf.round(tf.sqrt(areas / ratios)), tf.round(tf.sqrt(areas * ratios))
    fits = (heights >= 1) & (heights <= high) & (widths >= 1) & (widths <= wide)
    found, first = tf.reduce_any(fits, 1), tf.argmax(tf.cast(fits, tf.int32), 1)
    height, width = (
        tf.where(found, tf.gather(several, first, axis=1, batch_dims=1), tf.cast(other, tf.float32))
        for several, other in zip((heights, widths), otherwise, strict=True)
    )
    top, left = (
        tf.floor(uniform(seed, f"{use}: {axis}", (number,)) * (side - length + 1))
        for axis, side, length in (("top", high, height), ("left", wide, width))
    )
    return tf.cast(tf.stack([top, left, height, width], 1), tf.int32)


def each(change: Callable, *of_batch) -> tf.Tensor:
    """`change(image, *rest)` of the images of a batch; one after the other they stay in the processor's cache."""
    images = of_batch[0]
    signature = tf.TensorSpec(images.shape[1:], images.dtype)
    return tf.map_fn(lambda parts: change(*parts), of_batch, fn_output_signature=signature)


def rounded(values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Rounded and clipped to uint8, in the static shape of `like`."""
    if values.dtype != tf.uint8:
        values = tf.cast(tf.round(tf.clip_by_value(values, 0.0, 255.0)), tf.uint8)
    return tf.ensure_shape(values, like.shape)
