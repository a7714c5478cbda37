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

LINEAR, NEAREST = "triangle", "box"  # with antialiasing, and for what must not be mixed


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
    return tf.raw_ops.ScaleAndTranslate(
        images=pixels[None], size=size, scale=tf.cast(scaled, tf.float32) / tf.cast(tf.shape(pixels)[:2], tf.float32),
        translation=-tf.cast(before, tf.float32), kernel_type=kernel, antialias=kernel == LINEAR,
    )[0]  # fmt: skip


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
