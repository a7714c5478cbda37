"""Boxes that follow the moves of their images: corners (b, 4), x1, y1, x2, y2 as shares of the image's sides."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from cnn_app.inputs.augment import flipped, moved, shifts, stacked, upended
from cnn_app.inputs.warps import angles, crops

KEPT = 0.5  # of a box that must stay in sight, or its image is not moved


def moved_with_boxes(
    images: tf.Tensor, boxes: tf.Tensor, seed: tuple, augment: tuple[str, ...]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Images (b, H, W, C) as `augment.moved` has them, and their boxes, cut at the border.

    An image whose box would leave the view by more than half stays as it was.
    """
    (changed,) = moved((images,), seed, augment)
    found = moved_boxes(boxes, images.shape[1:3], seed, augment)
    cut = tf.clip_by_value(found, 0.0, 1.0)
    kept = _area(cut) >= KEPT * _area(found)
    return tf.where(kept[:, None, None, None], changed, images), tf.where(kept[:, None], cut, boxes)


def moved_boxes(boxes: tf.Tensor, sides: Sequence[int], seed: tuple, augment: tuple[str, ...]) -> tf.Tensor:
    """By the same draws as `augment.moved`, not cut; of a turned box the box around its corners."""
    seed, number = stacked(seed), tf.shape(boxes)[0]
    size = tf.constant([sides[1], sides[0]] * 2, tf.float32)
    x1, y1, x2, y2 = tf.unstack(boxes * size, axis=1)
    high, wide = map(float, sides)
    if "flip" in augment:
        turned = flipped(seed, number)[:, 0]
        x1, x2 = tf.where(turned, wide - x2, x1), tf.where(turned, wide - x1, x2)
    if "vflip" in augment:
        turned = upended(seed, number)[:, 0]
        y1, y2 = tf.where(turned, high - y2, y1), tf.where(turned, high - y1, y2)
    if "crop" in augment:
        down, right = (tf.cast(shifts(seed, number, side, axis)[:, 0], tf.float32) for axis, side in enumerate(sides))
        x1, y1, x2, y2 = x1 - right, y1 - down, x2 - right, y2 - down
    if "rotate" in augment:
        x1, y1, x2, y2 = _turned((x1, y1, x2, y2), angles(seed, number), wide / 2, high / 2)
    if "resized-crop" in augment:
        top, left, height, width = tf.unstack(tf.cast(crops(seed, number, sides), tf.float32), axis=1)
        x1, x2 = ((x - left) * wide / width for x in (x1, x2))
        y1, y2 = ((y - top) * high / height for y in (y1, y2))
    return tf.stack([x1, y1, x2, y2], 1) / size


def _turned(box: tuple, turn: tf.Tensor, x: float, y: float) -> tuple:
    """About (x, y), as `warps.turned` does."""
    x1, y1, x2, y2 = box
    across, down = tf.stack([x1, x2, x1, x2]) - x, tf.stack([y1, y1, y2, y2]) - y
    xs = x + tf.cos(turn) * across + tf.sin(turn) * down
    ys = y - tf.sin(turn) * across + tf.cos(turn) * down
    return tf.reduce_min(xs, 0), tf.reduce_min(ys, 0), tf.reduce_max(xs, 0), tf.reduce_max(ys, 0)


def _area(boxes: tf.Tensor) -> tf.Tensor:
    return tf.reduce_prod(tf.maximum(boxes[:, 2:] - boxes[:, :2], 0.0), 1)
