"""Waves in files: WAV of PCM with 8, 16, 24 or 32 bits, and of floats with 32 or 64."""

from __future__ import annotations

import io
import math
import os
import struct
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnn_app.errors import DataError
from cnn_app.inputs import files

if TYPE_CHECKING:
    from cnn_app.data.dataset import Column

SUFFIXES = (".wav", ".wave")
MAX_SECONDS, MAX_CHANNELS, MAX_CHUNKS = 3600, 32, 1000
RATES = 1000, 192_000
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
TYPES = {(PCM, 8): "u1", (PCM, 16): "<i2", (PCM, 24): "u1", (PCM, 32): "<i4", (FLOAT, 32): "<f4", (FLOAT, 64): "<f8"}
UNKNOWN = 0xFFFFFFFF  # a size that whoever wrote to a pipe did not know


@dataclass(frozen=True)
class Header:
    format: int  # PCM or FLOAT
    bits: int  # of a sample
    channels: int
    rate: int  # samples of a second, of each channel
    start: int  # of the samples in the file
    frames: int  # samples of each channel

    @property
    def decoded_bytes(self) -> int:
        """The most that is held while `mono` makes one wave of it."""
        return self.frames * (self.channels * 8 + 8)


def header(data: bytes) -> Header:
    """Raises DataError with why `data` should not be decoded."""
    if not data:
        raise DataError("the file is empty")
    if len(data) > files.MAX_BYTES:
        raise DataError(f"the file is larger than {files.MAX_BYTES >> 20} MiB")
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise DataError("it is no WAV")
    place, layout = 12, b""
    for _ in range(MAX_CHUNKS):
        if place + 8 > len(data):
            raise DataError("it is cut off: it has no samples" if layout else "it is cut off: it has no format")
        name, size = struct.unpack_from("<4sI", data, place)
        place += 8
        if name == b"fmt ":
            layout = data[place : place + min(size, 40)]
        if name == b"data":
            return _checked(layout, place, size, len(data) - place)
        place += size + size % 2
    raise DataError(f"it has more than {MAX_CHUNKS:,} chunks in front of its samples")


def _checked(layout: bytes, start: int, size: int, there: int) -> Header:
    if len(layout) < 16:
        raise DataError("its samples stand in front of their format, or it has none")
    kind, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", layout)
    if kind == EXTENSIBLE and len(layout) >= 26:
        kind = struct.unpack_from("<H", layout, 24)[0]
    if (kind, bits) not in TYPES:
        raise DataError(f"it has the format {kind:#06x} of {bits} bits; PCM of 8, 16, 24 or 32 bits and floats of 32 "
                        "or 64 are read")  # fmt: skip
    if not 1 <= channels <= MAX_CHANNELS or block != channels * bits // 8:
        raise DataError(f"it has {channels} channels in blocks of {block} bytes; 1 to {MAX_CHANNELS} channels are read")
    if not RATES[0] <= rate <= RATES[1]:
        raise DataError(f"it has {rate:,} samples a second; from {RATES[0]:,} to {RATES[1]:,} are read")
    if size > there and size != UNKNOWN:
        raise DataError(f"it is cut off: {there:,} of {size:,} bytes of samples are there")
    frames = min(size, there) // block
    if not frames:
        raise DataError("it has no samples")
    if frames > MAX_SECONDS * rate:
        raise DataError(f"it lasts {frames // rate:,} seconds; more than {MAX_SECONDS:,} are refused")
    return Header(kind, bits, channels, rate, start, frames)


def mono(data: bytes) -> tuple[np.ndarray, int]:
    """The mean of its channels, float32 (samples,) in [-1, 1], and its rate."""
    found = header(data)
    kind = np.dtype(TYPES[found.format, found.bits])
    count = found.frames * found.channels * found.bits // 8 // kind.itemsize
    values = np.frombuffer(data, kind, count, found.start)
    if found.bits == 24:
        low, middle, high = values.reshape(-1, 3).T.astype(np.int32)
        values = ((high << 24 | middle << 16 | low << 8) >> 8).astype(np.int32)
    if found.format == FLOAT:
        if not np.isfinite(values).all():
            raise DataError("it has samples that are no finite numbers")
        values = np.clip(values, -1, 1).astype(np.float32)
    elif found.bits == 8:
        values = (values.astype(np.float32) - 128) / 128
    else:
        values = (values / 2.0 ** (found.bits - 1)).astype(np.float32)
    return values.reshape(-1, found.channels).mean(1, dtype=np.float32), found.rate


def at_rate(values: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """A wave (samples,) of `rate` at another one, by a polyphase filter; in [-1, 1]."""
    if rate == wanted:
        return values
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    return np.clip(resample_poly(values, wanted // common, rate // common), -1, 1).astype(np.float32)


def encoded(values: np.ndarray, rate: int) -> bytes:
    """A wave as PCM of 16 bits."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.clip(np.round(values * 2.0**15), -(2**15), 2**15 - 1).astype("<i2").tobytes())
    return out.getvalue()


def column(paths: list[str]) -> Column:
    """The bytes of each file."""
    import tensorflow as tf

    from cnn_app.data.dataset import Column

    places = tf.constant(paths, tf.string)

    def problem(place: int) -> str | None:
        try:
            header(files.content(Path(paths[place])))
            return None
        except DataError as error:
            return str(error)

    def fault(place: int) -> str:
        try:
            mono(files.content(Path(paths[place])))
        except DataError as error:
            return str(error)
        return ""

    return Column(lambda place: tf.io.read_file(places[place]), problem, fault=fault)


def by_class(folder: Path, root: Path) -> dict[str, tuple[list[str], list]]:
    """Class -> names and paths of its files: a folder for each; files in folders below it count, too."""
    found = {}
    for label in sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != "."):
        paths = sorted(path for path in (folder / label).rglob("*") if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise DataError(f"{root}: the class folder {label!r} has no waves; add some ({', '.join(SUFFIXES)}) or "
                            "remove it")  # fmt: skip
        found[label] = ([files.relative(path, root) for path in paths], list(map(str, paths)))
    return found
