"""How an image lies in its file: EXIF's orientation (CIPA DC-008-2019, section 4.6.4), read inside TensorFlow's graph.

It is in the APP1 segment of a JPEG, in an eXIf chunk before a PNG's pixels, or in the EXIF chunk of a WebP. What is cut
off, loops or makes no sense counts as upright.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from cnn_app.inputs.files import content

UPRIGHT = 1
TRANSPOSED, ROWS_REVERSED, COLUMNS_REVERSED = (5, 6, 7, 8), (3, 4, 7, 8), (2, 3, 6, 7)  # what makes them upright
TAG, SHORT, ENTRY = 0x0112, 3, 12  # of the entry in TIFF: its number, its type, and its bytes
MAX_PARTS = 256  # segments or chunks that are looked at
START = 2**14  # bytes of a file, in which a JPEG's EXIF and a PNG's begin
HEAD = 10  # bytes that tell what a part is
JPEG, PNG, WEBP = b"\xff\xd8\xff", b"\x89PNG", b"RIFF"
EXIF = b"Exif\0\0"


def orientation(data: tf.Tensor) -> tf.Tensor:
    """Encoded bytes, a scalar string, -> 1 to 8, int32; 1 where nothing is said."""
    start = tf.strings.substr(data, 0, START)
    may_be_told = _contains(start, r"Exif\x00\x00") | _contains(start, "eXIf") | is_webp(start)
    return tf.cond(may_be_told, lambda: _told(data), lambda: UPRIGHT)


def is_jpeg(data: tf.Tensor) -> tf.Tensor:
    return tf.strings.substr(data, 0, len(JPEG)) == JPEG


def is_png(data: tf.Tensor) -> tf.Tensor:
    return tf.strings.substr(data, 0, len(PNG)) == PNG


def png_sides(data: tf.Tensor) -> tf.Tensor:
    """Height and width as they lie in the file, int32 (2,)."""
    head = _bytes(data, 16, 8)
    return tf.cast(tf.stack([_number(head[4:]), _number(head[:4])]), tf.int32)


def is_webp(data: tf.Tensor) -> tf.Tensor:
    return tf.strings.substr(data, 0, 4) == WEBP


@tf.function(input_signature=[tf.TensorSpec((), tf.string)], experimental_attributes={"_noinline": True})
def _told(data):
    """A function of its own, or each of its operators takes its turn in the files that have no EXIF, too."""
    return _in_tiff(_exif(data))


def of_file(path: Path) -> int:
    """As `orientation`, of the image at `path`. Raises DataError."""
    return int(orientation(tf.constant(content(path))))


def is_one_of(values: tuple[int, ...], orientation: tf.Tensor) -> tf.Tensor:
    return tf.reduce_any(orientation == tf.constant(values))


def upright(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """(h, w, C) as it lies in the file -> as it is meant."""

    def turned():
        is_across = is_one_of(TRANSPOSED, orientation)
        across = tf.cond(is_across, lambda: tf.transpose(pixels, (1, 0, 2)), lambda: pixels)
        backwards = tf.stack([is_one_of(values, orientation) for values in (ROWS_REVERSED, COLUMNS_REVERSED)])
        return tf.reverse(across, tf.boolean_mask([0, 1], backwards))

    return tf.cond(orientation == UPRIGHT, lambda: pixels, turned)


def upright_array(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """As `upright`, of what is no tensor, (h, w, ...)."""
    across = pixels.swapaxes(0, 1) if orientation in TRANSPOSED else pixels
    return across[:: -1 if orientation in ROWS_REVERSED else 1, :: -1 if orientation in COLUMNS_REVERSED else 1]


def _contains(text, pattern: str):
    """Much faster than to look at the parts one by one, which few files need."""
    return tf.strings.length(tf.strings.regex_replace(text, pattern, "", replace_global=False)) < tf.strings.length(
        text
    )


def _exif(data):
    """The TIFF in a file; empty where there is none."""
    formats = [(JPEG, 2, _jpeg_segment), (PNG, 8, _png_chunk), (WEBP, 12, _webp_chunk)]
    branches = [
        (tf.strings.substr(data, 0, len(magic)) == magic, partial(_in_parts, data, place, part))
        for magic, place, part in formats
    ]
    return tf.case(branches, default=lambda: tf.constant(""))


def _in_parts(data, start: int, part: Callable):
    """The content of the first part that is EXIF.

    part: the head of one, int64 (HEAD,), -> its length, where its content begins, whether that is EXIF, and whether no
        other is to be looked at.
    """
    size = tf.cast(tf.strings.length(data), tf.int64)

    def look(place, begin, end, done):
        length, content, is_exif, is_last = part(_bytes(data, place, HEAD))
        following = tf.minimum(place + length, size)
        begin = tf.where(is_exif, tf.minimum(place + content, following), following)
        return following, begin, following, is_exif | is_last

    state = (tf.constant(start, tf.int64), size, size, tf.constant(False))
    _, begin, end, _ = tf.while_loop(
        lambda place, begin, end, done: ~done & (place < size), look, state, maximum_iterations=MAX_PARTS
    )
    return tf.strings.substr(data, begin, end - begin)


def _jpeg_segment(head):
    """ITU-T T.81, section B.1.1; a marker may be filled up with more bytes of 255 in front of it."""
    length = 2 + _number(head[2:4])
    length = tf.where(head[1] == 0xFF, tf.ones_like(length), length)
    is_exif = (head[1] == 0xE1) & _are(head[4:10], EXIF)
    is_before = head[1] >= 0xE0  # applications' own, comments, and what fills up
    return length, 4 + len(EXIF), is_exif, (head[0] != 0xFF) | ~is_before


def _png_chunk(head):
    return 12 + _number(head[:4]), 8, _are(head[4:8], b"eXIf"), _are(head[4:8], b"IDAT")


def _webp_chunk(head):
    length = _number(head[7:3:-1])
    return 8 + length + length % 2, 8, _are(head[:4], b"EXIF"), tf.constant(False)


def _in_tiff(data):
    """The value in the first directory (TIFF 6.0, section 2)."""
    size = tf.cast(tf.strings.length(data), tf.int64)
    start = len(EXIF) * tf.cast(tf.strings.substr(data, 0, len(EXIF)) == EXIF, tf.int64)  # some writers of WebP
    head = _bytes(data, start, 8)
    is_little, is_big = _are(head[:4], b"II*\0"), _are(head[:4], b"MM\0*")

    def number(raw):
        return _number(tf.where(is_little, raw[..., ::-1], raw))

    place = tf.minimum(start + number(head[4:]), size)
    count = number(_bytes(data, place, 2))
    table = tf.strings.substr(data, tf.minimum(place + 2, size), ENTRY * count)
    whole = tf.strings.length(table) // ENTRY * ENTRY
    entries = tf.reshape(tf.io.decode_raw(tf.strings.substr(table, 0, whole), tf.uint8), (-1, ENTRY))
    entries = tf.cast(entries, tf.int64)
    is_it = (number(entries[:, :2]) == TAG) & (number(entries[:, 2:4]) == SHORT)
    found = tf.concat([tf.boolean_mask(number(entries[:, 8:10]), is_it), [UPRIGHT]], 0)[0]
    makes_sense = (is_little | is_big) & (found >= 1) & (found <= 8)
    return tf.where(makes_sense, tf.cast(found, tf.int32), UPRIGHT)


def _bytes(data, place, count: int):
    """`count` of them, int64; zeros behind the end."""
    raw = tf.io.decode_raw(tf.strings.substr(data, place, count), tf.uint8, fixed_length=count)
    return tf.cast(raw, tf.int64)


def _number(raw):
    """Bytes (..., n), the highest first, -> what they say (...)."""
    return tf.reduce_sum(raw * tf.constant([256**i for i in reversed(range(raw.shape[-1]))], tf.int64), -1)


def _are(raw, text: bytes):
    return tf.reduce_all(raw == tf.constant(list(text), tf.int64))
