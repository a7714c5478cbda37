"""Which part of an image a network sees, and where: stretched to its size, cropped as in its evaluation, or padded.

stretch: the whole image, whatever its proportions.
crop: the middle of the image, at the scale at which its shorter side has 1 / `crop_share` of the network's; with 0.875
    and 224 that is 256, the protocol that published accuracies are measured by (arXiv:1409.1556, section 3.2).
pad: the whole image in its proportions, with black beside or above and below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from cnn_app.inputs.orientation import COLUMNS_REVERSED, ROWS_REVERSED, TRANSPOSED, is_one_of, upright

if TYPE_CHECKING:
    from cnn_app.inputs.image import Image


def framed(pixels: tf.Tensor, image: Image, orientation: tf.Tensor | int, method: str = "triangle") -> tf.Tensor:
    """(h, w, C) as it lies in the file -> upright float32 (H, W, C), antialiased; `box` is for what is not mixed.

    It is turned when it is small, which spares a copy of a large one.
    """
    orientation = tf.convert_to_tensor(orientation)
    is_across = is_one_of(TRANSPOSED, orientation)
    lies = tf.shape(pixels)[:2]
    sides = tf.where(is_across, lies[::-1], lies)
    target = tf.constant(image.shape[:2])
    scaled, before = _window(sides, target, image)
    reversed_ = tf.stack([is_one_of(values, orientation) for values in (ROWS_REVERSED, COLUMNS_REVERSED)])
    before = tf.where(reversed_, scaled - target - before, before)  # counted from the other end
    scaled, before, size = (tf.where(is_across, axes[::-1], axes) for axes in (scaled, before, target))
    found = tf.raw_ops.ScaleAndTranslate(
        images=pixels[None], size=size, scale=tf.cast(scaled, tf.float32) / tf.cast(lies, tf.float32),
        translation=-tf.cast(before, tf.float32), kernel_type=method, antialias=method != "box",
    )  # fmt: skip
    return tf.ensure_shape(upright(found[0], orientation), (*image.shape[:2], pixels.shape[-1]))


def _window(sides: tf.Tensor, target: tf.Tensor, image: Image) -> tuple[tf.Tensor, tf.Tensor]:
    """An upright image's sides (2,) -> its sides when scaled, and how much of it lies before the network's window."""
    if image.resize == "stretch":
        return target, tf.zeros_like(target)
    share = image.crop_share if image.resize == "crop" else 1.0
    full = tf.cast(tf.round(tf.cast(target, tf.float32) / share), tf.int32)
    ratio = full / sides
    leading = tf.argmax(ratio) if image.resize == "crop" else tf.argmin(ratio)
    scaled = tf.maximum(sides * full[leading] // sides[leading], 1)
    return scaled, tf.cast(tf.round((scaled - target) / 2), tf.int32)
