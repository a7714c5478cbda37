"""Encoded records from where a person points: files, folders, standard input. Nothing heavy is imported for it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from cnn_app.errors import DataError

MAX_BYTES = 256 * 2**20  # of a file
MAX_PIXELS = 64_000_000  # of a decoded image; more is a mistake or an attack
MAX_FRAMES = 20_000  # of a clip
MIN_SIDE = 4  # pixels; less carries no image
FORMATS = {"JPEG": (".jpg", ".jpeg"), "PNG": (".png",), "WebP": (".webp",), "BMP": (".bmp",), "GIF": (".gif",)}
KINDS = " or".join(", ".join(FORMATS).rsplit(",", 1))
CONVERTED = {"TIFF": (".tif", ".tiff"), "AVIF": (".avif",), "HEIC": (".heic", ".heif")}  # see `conversion`
SENT = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)  # of what a server takes
SUFFIXES = (*SENT, *(suffix for suffixes in CONVERTED.values() for suffix in suffixes))


def named_images(places: Iterable[str], stdin: BinaryIO) -> Iterator[tuple[str, bytes | DataError]]:
    """Files, all images under folders, and `-` for the bytes on `stdin`: names with bytes, or why there are none."""
    for name in names(places):
        try:
            yield name, stdin.read(MAX_BYTES + 1) if name == "-" else content(Path(name))
        except DataError as error:
            yield name, error


def names(places: Iterable[str], suffixes: tuple[str, ...] = SUFFIXES, what: str = "images") -> Iterator[str]:
    for place in places:
        path = Path(place)
        if place == "-" or not path.is_dir():
            yield place
            continue
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in suffixes)
        if not found:
            raise DataError(f"{place} has no {what} in it ({', '.join(suffixes)})")
        yield from map(str, found)


def relative(path: Path, root: Path) -> str:
    """A record's name: where it lies in the folder `root`, with slashes."""
    place, start = os.fspath(path), os.path.join(root, "")
    inner = place[len(start) :] if place.startswith(start) else os.path.relpath(path, root)  # the latter is slow
    return inner.replace(os.sep, "/")


def check_size(width: int, height: int, most: int = MAX_PIXELS) -> None:
    if width * height > most:
        raise DataError(f"it has {width}x{height} pixels; more than {most:,} are refused")
    if min(width, height) < MIN_SIDE:
        raise DataError(f"it has {width}x{height} pixels; at least {MIN_SIDE}x{MIN_SIDE} are needed")


def content(file: Path, most: int = MAX_BYTES) -> bytes:
    try:
        if file.stat().st_size > most:
            raise DataError(f"{file} is larger than {most >> 20:,} MiB")
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error


def text(file: Path, encoding: str, most: int = MAX_BYTES) -> str:
    """The text of a file; bytes of another encoding are told with their line."""
    data = content(file, most)
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except LookupError as error:
        raise DataError(f"{encoding!r} is no encoding; utf-8, latin-1 and cp1252 are the usual ones") from error
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(f"{file}:{line} is not {encoding}; --encoding names another, such as latin-1") from error
