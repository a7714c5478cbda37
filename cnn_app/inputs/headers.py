"""What an encoded image says of itself: whether it should be decoded, and what memory that would take."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from importlib import import_module
from typing import BinaryIO

from cnn_app.errors import DataError
from cnn_app.inputs import conversion
from cnn_app.inputs.files import KINDS, MAX_BYTES, MAX_PIXELS, check_size

MAX_PARTS = 4000  # reads of a header
STARTS = {b"\x89PNG\r\n\x1a\n": "Png", b"BM": "Bmp", b"GIF87a": "Gif", b"GIF89a": "Gif"}
SCAN, FRAMES, NO_FRAMES, PROGRESSIVE = 0xDA, range(0xC0, 0xD0), (0xC4, 0xC8, 0xCC), (0xC2, 0xC6, 0xCA, 0xCE)


@dataclass(frozen=True)
class Header:
    format: str  # one of KINDS, in capitals
    width: int
    height: int
    decoded_bytes: int  # the most that is held while `pixels.decode` and `pixels.to_size` make pixels of it


def read(data: bytes | BinaryIO, most: int = MAX_PIXELS) -> Header:
    """Raises DataError with why `data` should not be decoded; `most` are the pixels it may have."""
    from PIL.Image import DecompressionBombError, DecompressionBombWarning

    stream = _Parts(io.BytesIO(data) if isinstance(data, bytes) else data)
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    if not size:
        raise DataError("the file is empty")
    if size > MAX_BYTES:
        raise DataError(f"the file is larger than {MAX_BYTES >> 20} MiB")
    if kind := conversion.kind_of(stream.read(12)):
        raise DataError(f"it is {kind}, which is read from files alone; send {KINDS}")
    stream.seek(0)
    try:
        found = _jpeg(stream) or _webp(stream) or _by_pillow(stream)
    except (DecompressionBombError, DecompressionBombWarning):  # of a GIF whose frame is larger than itself
        raise DataError(f"it has more than {most:,} pixels") from None
    except (OSError, ValueError, SyntaxError):
        raise DataError(f"it is no {KINDS}") from None
    check_size(found.width, found.height, most)
    return found


def problem(data: bytes | BinaryIO) -> str | None:
    """Why `data` should not be decoded; None if nothing speaks against it."""
    try:
        read(data)
    except DataError as error:
        return str(error)
    return None


def file_problem(path: str) -> str | None:
    """As `problem`, of the file at `path`, which may be one to be converted."""
    try:
        with open(path, "rb") as stream:
            kind = conversion.kind_of(stream.read(12))
            stream.seek(0)
            if kind is None:
                return problem(stream)
            if os.path.splitext(path)[1].lower() not in conversion.SUFFIXES:
                return f"it is {kind}, which its name must say: .{kind.lower()}"
            conversion.check(kind, stream)
            return None
    except DataError as error:
        return str(error)
    except OSError as error:
        return error.strerror


class _Parts:
    """A file whose header does not go on for ever: Pillow reads one of 30 MiB part by part, in Python."""

    def __init__(self, stream: BinaryIO):
        self.left, self.stream, self.seek, self.tell = MAX_PARTS, stream, stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise DataError("its header has too many parts")
        return self.stream.read(size)


def _opened(stream: _Parts):
    """By Pillow's own class of the format: `Image.open` warns of sizes that are refused here."""
    start = stream.read(8)
    stream.seek(0)
    kind = next((kind for magic, kind in STARTS.items() if start.startswith(magic)), None)
    if kind is None:
        raise ValueError("it is none of these")
    return getattr(import_module(f"PIL.{kind}ImagePlugin"), f"{kind}ImageFile")(stream)


def _by_pillow(stream: _Parts) -> Header:
    image = _opened(stream)
    if image.format == "BMP" and not _is_plain(image):
        raise DataError("it is a BMP with a palette, compression or unusual pixels; save it as PNG")
    width, height = image.size
    return Header(image.format, width, height, width * height * _bytes_per_pixel(image))


def _webp(stream: _Parts) -> Header | None:
    """None for what is no WebP. Pillow would make room for all its pixels (RFC 9649, sections 2.5 to 2.7)."""
    head = stream.read(30)
    stream.seek(0)
    if not (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return None
    kind, alpha = head[12:16], False
    if len(head) < 30:
        raise ValueError("it is cut off")
    if kind == b"VP8X":
        alpha, animated = head[20] & 16 > 0, head[20] & 2 > 0
        if animated:
            raise DataError("it is an animated WebP; save its first image alone")
        width, height = (1 + int.from_bytes(head[place : place + 3], "little") for place in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        width, height, alpha = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), bits >> 28 & 1 > 0
    elif kind == b"VP8 ":
        width, height = (int.from_bytes(head[place : place + 2], "little") & 0x3FFF for place in (26, 28))
    else:
        raise ValueError("it has no image")
    lossless = 0 if kind == b"VP8 " else 4  # whose pixels are held apart
    return Header("WEBP", width, height, width * height * (lossless + (10 if alpha else 3)))


def _bytes_per_pixel(image) -> int:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return 10  # four channels, and the three over white in parts and as a whole
    return 3 if image.mode in ("RGB", "P") else 4  # grey comes beside what is made of it


def _jpeg(stream: _Parts) -> Header | None:
    """None for what is no JPEG. Pillow would warn of EXIF that is damaged (ITU-T T.81, section B.2)."""
    is_one = stream.read(3) == b"\xff\xd8\xff"
    stream.seek(2 if is_one else 0)
    width = height = components = 0
    try:
        while is_one and (byte := stream.read(1)):
            if byte != b"\xff":
                continue
            while (kind := stream.read(1)) == b"\xff":
                pass
            length = int.from_bytes(stream.read(2), "big")
            if kind[0] in FRAMES and kind[0] not in NO_FRAMES:
                frame = stream.read(6)
                height, width, components = (
                    int.from_bytes(frame[1:3], "big"),
                    int.from_bytes(frame[3:5], "big"),
                    frame[5],
                )
                length -= 6
            in_parts = kind[0] in PROGRESSIVE
            if kind[0] == SCAN or in_parts:
                in_parts = in_parts or stream.read(1)[0] < components
                coefficients = 2 * components * in_parts  # of all blocks
                return Header("JPEG", width, height, width * height * ((4 if components == 1 else 3) + coefficients))
            stream.seek(max(length - 2, 0), os.SEEK_CUR)
    except IndexError:
        raise ValueError("it is cut off") from None
    if is_one:
        raise ValueError("it has no scan")
    return None


def _is_plain(bmp) -> bool:
    """Whether TensorFlow reads this BMP as it is meant: it takes palette indices for grey, and padding for alpha."""
    return all(tile.codec_name == "raw" and tile.args[0] in ("L", "BGR", "BGRA") for tile in bmp.tile)
