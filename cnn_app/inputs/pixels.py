"""Bytes -> pixels: the one definition that training, calibration, prediction and the endpoint share.

Decoded to uint8; an alpha channel is laid over white; then brought to height x width by antialiased bilinear
interpolation as `framing` has it, turned upright, brought to one or three channels, and rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from cnn_app.errors import DataError
from cnn_app.inputs import headers
from cnn_app.inputs.framing import framed
from cnn_app.inputs.orientation import (
    TRANSPOSED,
    UPRIGHT,
    is_jpeg,
    is_one_of,
    is_png,
    is_webp,
    orientation,
    png_sides,
    upright,
)

if TYPE_CHECKING:
    from cnn_app.inputs.frame import Frame

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey (ITU-R BT.601)
STRIP = 2**18  # pixels with an alpha channel that are laid over white at a time


def sized(data: tf.Tensor, image: Frame) -> tf.Tensor:
    """Encoded bytes, a scalar string, -> uint8 of the shape of `image`, upright."""
    return to_size(decode(data), image, orientation(data))


def sides(data: tf.Tensor) -> tf.Tensor:
    """Encoded bytes, a scalar string, -> height and width of the image when it is upright, int32 (2,)."""
    lies = tf.cond(
        is_jpeg(data), lambda: tf.image.extract_jpeg_shape(data)[:2],
        lambda: tf.cond(is_png(data), lambda: png_sides(data), lambda: tf.shape(decode(data))[:2]),
    )  # fmt: skip
    return tf.where(is_one_of(TRANSPOSED, orientation(data)), lies[::-1], lies)


def decode(data: tf.Tensor) -> tf.Tensor:
    """Encoded bytes, a scalar string, -> uint8 (height, width, 1 or 3) as it lies there; of a GIF the first frame."""
    pixels = tf.cond(
        is_jpeg(data),
        lambda: tf.io.decode_jpeg(
            data, dct_method="INTEGER_ACCURATE"
        ),  # as phones and Pillow do; by default it is fast
        lambda: tf.io.decode_image(tf.cond(is_webp(data), lambda: _still(data), lambda: data), expand_animations=False),
    )
    pixels = tf.reshape(pixels, tf.shape(pixels)[-3:])
    channels = tf.shape(pixels)[-1]
    return tf.cond(tf.math.floormod(channels, 2) == 0, lambda: _over_white(pixels), lambda: pixels)


def to_size(pixels: tf.Tensor, image: Frame, orientation: tf.Tensor | int = UPRIGHT) -> tf.Tensor:
    """uint8 (h, w, 1 or 3) -> uint8 of the shape of `image`."""
    return in_channels(framed(in_colour(pixels), image, orientation), image.shape[2])


def in_colour(pixels: tf.Tensor) -> tf.Tensor:
    """(h, w, 1 or 3) -> (h, w, 3)."""
    colour = tf.broadcast_to(pixels, tf.concat([tf.shape(pixels)[:2], [3]], 0))
    return tf.ensure_shape(colour, (None, None, 3))


def in_channels(scaled: tf.Tensor, channels: int) -> tf.Tensor:
    """Float32 (h, w, 3) -> uint8 (h, w, channels), rounded."""
    if channels not in (1, 3):
        raise DataError(f"images have 1 or 3 channels, the network wants {channels}")
    if channels == 1:
        scaled = tf.tensordot(scaled, tf.constant(LUMA), 1)[..., None]
    return tf.cast(tf.round(tf.clip_by_value(scaled, 0, 255)), tf.uint8)


def load(data: bytes, name: str, image: Frame) -> np.ndarray:
    """One image from outside as a uint8 array of the shape of `image`; `name` is for the error."""
    return _loaded(data, name, lambda data: sized(data, image))


def whole(data: bytes, name: str) -> np.ndarray:
    """As `load`, upright and at its own size, uint8 (h, w, 3)."""
    return _loaded(data, name, lambda data: in_colour(upright(decode(data), orientation(data))))


def _loaded(data: bytes, name: str, convert: Callable[[tf.Tensor], tf.Tensor]) -> np.ndarray:
    try:
        headers.read(data)
    except DataError as error:
        raise DataError(f"cannot read {name}: {error}") from error
    try:
        return convert(tf.constant(data)).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise DataError(f"cannot read {name}: the image is damaged or cut off") from error


def decoder(image: Frame) -> Callable[[bytes], np.ndarray]:
    """`load` for images that `headers` has nothing against, as one graph; it may be called in threads."""

    @tf.function(input_signature=[tf.TensorSpec((), tf.string)])
    def decoded(data):
        return sized(data, image)

    def read_one(data: bytes) -> np.ndarray:
        try:
            return decoded(tf.constant(data)).numpy()
        except tf.errors.InvalidArgumentError as error:
            raise DataError("the image is damaged or cut off") from error

    return read_one


@tf.function(input_signature=[tf.TensorSpec((), tf.string)], experimental_attributes={"_noinline": True})
def _still(data):
    """A WebP, or nothing in the place of an animated one, which overruns the memory of TensorFlow 2.21."""
    head = tf.io.decode_raw(tf.strings.substr(data, 12, 9), tf.uint8, fixed_length=9)
    is_extended = tf.reduce_all(head[:4] == tf.constant(list(b"VP8X"), tf.uint8))
    is_animated = is_extended & (tf.bitwise.bitwise_and(head[8], tf.constant(2, tf.uint8)) > 0)
    return tf.cond(is_animated, lambda: tf.constant(""), lambda: data)


@tf.function(input_signature=[tf.TensorSpec((None, None, None), tf.uint8)], experimental_attributes={"_noinline": True})
def _over_white(pixels):
    """uint8 (h, w, 2 or 4) -> uint8 (h, w, 1 or 3), a strip at a time: numbers between take six times the memory."""
    flat, channels = tf.reshape(pixels, (-1, tf.shape(pixels)[-1])), tf.shape(pixels)[-1] - 1
    count = tf.shape(flat)[0]
    strips = tf.TensorArray(tf.uint8, (count + STRIP - 1) // STRIP, infer_shape=False, element_shape=(None, None))

    def blended(number, done):
        strip = tf.cast(flat[number * STRIP : (number + 1) * STRIP], tf.float32)
        alpha = strip[:, -1:] / 255
        return number + 1, done.write(number, tf.cast(tf.round(strip[:, :-1] * alpha + 255 * (1 - alpha)), tf.uint8))

    _, strips = tf.while_loop(lambda number, _: number < strips.size(), blended, (0, strips), parallel_iterations=1)
    return tf.reshape(strips.concat(), tf.concat([tf.shape(pixels)[:-1], [channels]], 0))
