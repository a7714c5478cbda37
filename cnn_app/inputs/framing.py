"""Which part of an image a network sees, and where: stretched to its size, cropped as in its evaluation, or padded.

stretch: the whole image, whatever its proportions.
crop: the middle of the image, at the scale at which its shorter side has 1 / `crop_share` of the network's; with 0.875
    and 224 that is 256, the protocol that published accuracies are measured by (arXiv:1409.1556, section 3.2).
pad: the whole image in its proportions, with black beside or above and below it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import tensorflow as tf

from cnn_app.inputs.orientation import COLUMNS_REVERSED, ROWS_REVERSED, TRANSPOSED, UPRIGHT, is_one_of, upright

if TYPE_CHECKING:
    from cnn_app.inputs.frame import Frame

LINEAR, NEAREST = "triangle", "nearest"  # with antialiasing, and for what must not be mixed


def framed(pixels: tf.Tensor, image: Frame, orientation: tf.Tensor | int = UPRIGHT, kernel: str = LINEAR) -> tf.Tensor:
    """uint8 (h, w, C) as it lies in the file -> float32 (H, W, C), upright."""
    lies = tf.shape(pixels)[:2]

    def as_it_lies():
        return _scaled(pixels, *window(lies, tf.constant(image.shape[:2]), image), image.shape[:2], kernel)

    found = tf.cond(tf.equal(orientation, UPRIGHT), as_it_lies, lambda: _turning(image, kernel)(pixels, orientation))
    return tf.ensure_shape(found, (*image.shape[:2], pixels.shape[-1]))


@cache
def _turning(image: Frame, kernel: str) -> Callable:
    """Scales and turns what does not lie upright: small it is turned faster, and without a copy of a large one.

    A function of its own, or each of its operators takes its turn in upright images, too.
    """

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None), tf.uint8), tf.TensorSpec((), tf.int32)],
        experimental_attributes={"_noinline": True},
    )
    def turned(pixels, orientation):
        lies, target = tf.shape(pixels)[:2], tf.constant(image.shape[:2])
        is_across = is_one_of(TRANSPOSED, orientation)
        scaled, before = window(tf.where(is_across, lies[::-1], lies), target, image)
        is_reversed = tf.stack([is_one_of(values, orientation) for values in (ROWS_REVERSED, COLUMNS_REVERSED)])
        before = tf.where(is_reversed, scaled - target - before, before)  # counted from the other end
        scaled, before, size = (tf.where(is_across, axes[::-1], axes) for axes in (scaled, before, target))
        return upright(_scaled(pixels, scaled, before, size, kernel), orientation)

    return turned


def _scaled(pixels: tf.Tensor, scaled, before, size, kernel: str) -> tf.Tensor:
    """The window of `size` behind `before` of the image at the sides `scaled`; black where there is none of it."""
    if kernel == NEAREST:
        return _nearest(pixels, scaled, before, size)
    return tf.raw_ops.ScaleAndTranslate(
        images=pixels[None], size=size, scale=tf.cast(scaled, tf.float32) / tf.cast(tf.shape(pixels)[:2], tf.float32),
        translation=-tf.cast(before, tf.float32), kernel_type=kernel, antialias=True,
    )[0]  # fmt: skip


def _nearest(pixels: tf.Tensor, scaled, before, size) -> tf.Tensor:
    """Of each place the pixel that its middle lies in; the kernels of ScaleAndTranslate mix two where it is between."""
    found = pixels
    for axis in (0, 1):
        side, full = tf.shape(pixels, tf.int64)[axis], tf.cast(scaled[axis], tf.int64)
        places = tf.range(tf.cast(size[axis], tf.int64)) + tf.cast(before[axis], tf.int64)
        is_inside = tf.reshape((places >= 0) & (places < full), [-1 if i == axis else 1 for i in range(3)])
        found = tf.gather(found, tf.clip_by_value((2 * places + 1) * side // (2 * full), 0, side - 1), axis=axis)
        found = tf.where(is_inside, found, tf.zeros_like(found))
    return tf.cast(found, tf.float32)


def seen(boxes: tf.Tensor, sides: tf.Tensor, image: Frame) -> tf.Tensor:
    """Boxes (..., 4), x1, y1, x2, y2 in pixels of an upright image of `sides` (2,), as shares of the network's view."""
    scale, before, target = _placing(sides, image)
    return (boxes * scale - before) / target


def original(boxes: tf.Tensor, sides: tf.Tensor, image: Frame) -> tf.Tensor:
    """The inverse of `seen`, within the image."""
    scale, before, target = _placing(sides, image)
    most = tf.tile(tf.cast(sides, tf.float32)[::-1], [2])
    return tf.clip_by_value((boxes * target + before) / scale, 0.0, most)


def _placing(sides: tf.Tensor, image: Frame) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Of x, y, x, y: how an image is scaled, what of it lies before the network's view, and the size of that."""
    target = tf.constant(image.shape[:2])
    scaled, before = window(sides, target, image)
    scale = tf.cast(scaled, tf.float32) / tf.cast(sides, tf.float32)
    return tuple(tf.tile(tf.cast(axes, tf.float32)[::-1], [2]) for axes in (scale, before, target))


def window(sides: tf.Tensor, target: tf.Tensor, image: Frame) -> tuple[tf.Tensor, tf.Tensor]:
    """An upright image's sides (2,) -> its sides when scaled, and how much of it lies before the network's window."""
    if image.resize == "stretch":
        return target, tf.zeros_like(target)
    share = image.crop_share if image.resize == "crop" else 1.0
    full = tf.cast(tf.round(tf.cast(target, tf.float32) / share), tf.int32)
    ratio = full / sides
    leading = tf.argmax(ratio) if image.resize == "crop" else tf.argmin(ratio)
    scaled = tf.maximum(sides * full[leading] // sides[leading], 1)
    return scaled, tf.cast(tf.round((scaled - target) / 2), tf.int32)
