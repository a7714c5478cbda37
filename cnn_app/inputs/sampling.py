"""Random crops of encoded images, of which no more is decoded than a network sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from cnn_app.inputs.draws import boxes
from cnn_app.inputs.orientation import TRANSPOSED, UPRIGHT, is_jpeg, is_one_of, orientation, upright
from cnn_app.inputs.pixels import decode, in_channels, in_colour
from cnn_app.inputs.warps import AREA, RATIO, largest

if TYPE_CHECKING:
    from cnn_app.inputs.frame import Frame

SCALES = (1, 2, 4, 8)  # that libjpeg decodes a fraction of, by fewer of a block's frequencies


def resized_crop(data: tf.Tensor, image: Frame, seed: tf.Tensor) -> tf.Tensor:
    """Encoded bytes, a scalar string, -> a box of the image at the size of `image`, uint8, upright.

    As `warps.resized_crop`, but of all the pixels that the file has.
    """
    part = tf.cond(is_jpeg(data), lambda: _of_jpeg(data, image, seed), lambda: _of_pixels(decode(data), seed))
    return _sized(part, image, orientation(data))


def of_pixels(pixels: tf.Tensor, image: Frame, seed: tf.Tensor) -> tf.Tensor:
    """`resized_crop` of an image that is decoded, uint8 (h, w, 1 or 3)."""
    return _sized(_of_pixels(pixels, seed), image, tf.constant(UPRIGHT))


def _sized(part, image: Frame, orientation):
    """By the mean of an area, a third faster than what `framing` has, or between pixels where a box is enlarged."""
    size, colour = tf.constant(image.shape[:2]), in_colour(part)
    size = tf.where(is_one_of(TRANSPOSED, orientation), size[::-1], size)
    scaled = tf.cond(
        tf.reduce_all(tf.shape(colour)[:2] >= size),
        lambda: tf.image.resize(colour, size, tf.image.ResizeMethod.AREA),
        lambda: tf.image.resize(colour, size),
    )
    return tf.ensure_shape(in_channels(upright(scaled, orientation), image.shape[2]), image.shape)


def _of_pixels(pixels, seed):
    top, left, height, width = tf.unstack(_box(tf.shape(pixels)[:2], seed), 4)
    return pixels[top : top + height, left : left + width]


def _of_jpeg(data, image: Frame, seed):
    box = _box(tf.image.extract_jpeg_shape(data)[:2], seed)
    spare = tf.reduce_min(box[2:]) // max(image.shape[:2])  # how often the network's size is in the box
    chosen = tf.reduce_sum(tf.cast(tf.constant(SCALES) <= spare, tf.int32)) - 1

    def decoded(scale: int):
        window = box // scale
        return lambda: tf.raw_ops.DecodeAndCropJpeg(contents=data, crop_window=window, ratio=scale)

    return tf.switch_case(tf.maximum(chosen, 0), list(map(decoded, SCALES)))


def _box(sides, seed):
    return boxes(seed, "resized-crop", 1, tf.unstack(sides, 2), AREA, RATIO, largest(*tf.unstack(sides, 2)))[0]
