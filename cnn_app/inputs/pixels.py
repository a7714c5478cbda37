"""Bytes -> pixels: the one definition that training, calibration, prediction and the endpoint share.

Decoded to uint8; an alpha channel is laid over white; then stretched to height x width by antialiased bilinear
interpolation, brought to one or three channels, and rounded. EXIF rotation is not applied.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import tensorflow as tf

from cnn_app.errors import DataError
from cnn_app.inputs.files import MAX_BYTES

MAX_PIXELS = 64_000_000  # of a decoded image; more is a mistake or an attack
MIN_SIDE = 4  # pixels; less carries no image
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey (ITU-R BT.601)
FORMATS = ("JPEG", "PNG", "BMP", "GIF")  # JPEG opens MPO too: a phone's JPEG with a second image behind it


def decode(data: tf.Tensor) -> tf.Tensor:
    """Encoded bytes, a scalar string, -> uint8 (height, width, 1 or 3); of a GIF the first frame."""
    pixels = tf.io.decode_image(data, expand_animations=False)
    pixels = tf.reshape(pixels, tf.shape(pixels)[-3:])
    channels = tf.shape(pixels)[-1]
    return tf.cond(tf.math.floormod(channels, 2) == 0, lambda: _over_white(pixels), lambda: pixels)


def to_size(pixels: tf.Tensor, image: tuple[int, int, int]) -> tf.Tensor:
    """uint8 (h, w, 1 or 3) -> uint8 of shape `image`."""
    height, width, channels = image
    if channels not in (1, 3):
        raise DataError(f"images have 1 or 3 channels, the network wants {channels}")
    colour = tf.broadcast_to(pixels, tf.concat([tf.shape(pixels)[:2], [3]], 0))
    scaled = tf.image.resize(tf.ensure_shape(colour, (None, None, 3)), (height, width), antialias=True)
    if channels == 1:
        scaled = tf.tensordot(scaled, tf.constant(LUMA), 1)[..., None]
    return tf.cast(tf.round(tf.clip_by_value(scaled, 0, 255)), tf.uint8)


def problem(data: bytes | BinaryIO, most: int = MAX_PIXELS) -> str | None:
    """Why `data` should not be decoded, read from its header alone; None if nothing speaks against it.

    `most` are the pixels it may have.
    """
    from PIL import Image

    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    if not size:
        return "the file is empty"
    if size > MAX_BYTES:
        return f"the file is larger than {MAX_BYTES >> 20} MiB"
    try:
        with Image.open(stream, formats=FORMATS) as image:
            width, height = image.size
            plain = image.format != "BMP" or _is_plain(image)
    except Image.DecompressionBombError:
        return f"it has more than {most:,} pixels"
    except (OSError, ValueError, SyntaxError):
        return "it is no JPEG, PNG, BMP or GIF"
    if width * height > most:
        return f"it has {width}x{height} pixels; more than {most:,} are refused"
    if min(width, height) < MIN_SIDE:
        return f"it has {width}x{height} pixels; at least {MIN_SIDE}x{MIN_SIDE} are needed"
    return None if plain else "it is a BMP with a palette, compression or unusual pixels; save it as PNG"


def read(path: str | os.PathLike[str], image: tuple[int, int, int]):
    """The image in a file from outside as a uint8 array of shape `image`."""
    try:
        if os.stat(path).st_size > MAX_BYTES:
            raise DataError(f"{path} is larger than {MAX_BYTES >> 20} MiB")
        with open(path, "rb") as stream:
            return load(stream.read(), str(path), image)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


@contextmanager
def quiet_sizes() -> Iterator[None]:
    """Around calls of `problem`: Pillow warns of sizes that are refused anyway. Not to be entered in threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def load(data: bytes, name: str, image: tuple[int, int, int]):
    """One image from outside as a uint8 array of shape `image`; `name` is for the error."""
    with quiet_sizes():
        reason = problem(data)
    if reason:
        raise DataError(f"cannot read {name}: {reason}")
    try:
        return to_size(decode(tf.constant(data)), image).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise DataError(f"cannot read {name}: the image is damaged or cut off") from error


def decoder(image: tuple[int, int, int]) -> Callable[[bytes], np.ndarray]:
    """`load` for images that `problem` has nothing against, as one graph; it may be called in threads."""

    @tf.function(input_signature=[tf.TensorSpec((), tf.string)])
    def decoded(data):
        return to_size(decode(data), image)

    def read_one(data: bytes) -> np.ndarray:
        try:
            return decoded(tf.constant(data)).numpy()
        except tf.errors.InvalidArgumentError as error:
            raise DataError("the image is damaged or cut off") from error

    return read_one


def _is_plain(bmp) -> bool:
    """Whether TensorFlow reads this BMP as it is meant: it takes palette indices for grey, and padding for alpha."""
    return all(tile.codec_name == "raw" and tile.args[0] in ("L", "BGR", "BGRA") for tile in bmp.tile)


def _over_white(pixels):
    colour, alpha = tf.cast(pixels[..., :-1], tf.float32), tf.cast(pixels[..., -1:], tf.float32) / 255
    return tf.cast(tf.round(colour * alpha + 255 * (1 - alpha)), tf.uint8)
