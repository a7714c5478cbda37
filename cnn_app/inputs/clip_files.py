"""Clips as bytes: animated GIF, TAR of numbered images, and MP4 by the extra `video`.

Each is looked at before it is decoded, and no more frames of it are held than are asked for.
"""

from __future__ import annotations

import io
import re
import tarfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from cnn_app.errors import DataError, first_line
from cnn_app.inputs import conversion, files, gif_blocks, headers
from cnn_app.inputs.files import MAX_BYTES, MAX_FRAMES, MAX_PIXELS, check_size

GIF, TAR, VIDEOS = (".gif",), (".tar",), (".mp4", ".m4v", ".mov")
SUFFIXES = (*GIF, *VIDEOS, *TAR)
STILLS = tuple(suffix for suffix in files.SUFFIXES if suffix not in GIF)
KINDS = "GIF, MP4 or TAR of images"
MAX_TOTAL = 4_000_000_000  # pixels of all frames, which somebody may have to decode
WHITE = 255


class Reel(Protocol):
    """A clip that was looked at and is not yet decoded."""

    frames: int
    held: int  # of them at once, at most, wherever they are decoded
    width: int
    height: int

    def read(self, places: Sequence[int]) -> np.ndarray: ...  # rising -> uint8 (n, height, width, 3); DataError


def opened(data: bytes, most: int = MAX_PIXELS) -> Reel:
    """Raises DataError with why `data` should not be decoded; `most` are the pixels that a frame may have."""
    if not data:
        raise DataError("the file is empty")
    if len(data) > MAX_BYTES:
        raise DataError(f"the file is larger than {MAX_BYTES >> 20} MiB")
    if data[:6] in (b"GIF87a", b"GIF89a"):
        found: Reel = _Gif(data)
    elif data[257:262] == b"ustar":
        found = _Tar(data)
    elif data[4:8] == b"ftyp" and data[8:12] not in conversion.BRANDS:
        from cnn_app.inputs.video_files import Video

        found = Video(data)
    else:
        raise DataError(f"it is no {KINDS}")
    check_size(found.width, found.height, most)
    if found.frames * found.width * found.height > MAX_TOTAL:
        raise DataError(f"it has {found.frames:,} frames of {found.width}x{found.height} pixels; more than "
                        f"{MAX_TOTAL:,} pixels are refused")  # fmt: skip
    return found


class _Gif:
    def __init__(self, data: bytes):
        self.data = data
        self.frames, self.width, self.height = gif_blocks.extent(data, MAX_FRAMES)
        self.held = self.frames  # in TensorFlow's graph

    def read(self, places: Sequence[int]) -> np.ndarray:
        from PIL.GifImagePlugin import GifImageFile

        found = []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                image = GifImageFile(io.BytesIO(self.data))
                for place in places:
                    image.seek(place)
                    found.append(np.asarray(_in_colour(image, behind=0)))
        except (OSError, ValueError, SyntaxError, EOFError, IndexError) as error:
            raise DataError("it is damaged or cut off") from error
        return np.stack(found)


class _Tar:
    def __init__(self, data: bytes):
        self.members: list[tuple[str, int, int]] = []  # name, place and length
        try:
            with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
                for count, member in enumerate(archive):
                    if count >= MAX_FRAMES:
                        raise DataError(f"it has more than {MAX_FRAMES:,} frames")
                    if member.isreg() and not member.issparse() and Path(member.name).suffix.lower() in STILLS:
                        self.members.append((member.name, member.offset_data, member.size))
        except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as error:
            raise DataError(f"it is a damaged TAR: {first_line(error)}") from error
        if not self.members:
            raise DataError(f"it is a TAR without images ({', '.join(STILLS)})")
        self.members.sort(key=lambda member: natural(member[0]))
        self.data, self.frames = data, len(self.members)
        self.held = min(self.frames, 256)
        self.height, self.width = self._image(0).shape[:2]

    def read(self, places: Sequence[int]) -> np.ndarray:
        found = [self._image(place) for place in places]
        for place, image in zip(places, found, strict=True):
            if image.shape != (self.height, self.width, 3):
                raise DataError(f"its frame {self.members[place][0]} has {image.shape[1]}x{image.shape[0]} pixels, the "
                                f"first {self.width}x{self.height}")  # fmt: skip
        return np.stack(found)

    def _image(self, place: int) -> np.ndarray:
        name, start, size = self.members[place]
        try:
            return still(self.data[start : start + size])
        except DataError as error:
            raise DataError(f"its frame {name}: {error}") from error


def still(data: bytes) -> np.ndarray:
    """An encoded image as `pixels.whole` has it, uint8 (h, w, 3), without TensorFlow."""
    from PIL import Image, ImageOps

    data = conversion.as_png(data)
    found = headers.read(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata that are damaged
            image = Image.open(io.BytesIO(data), formats=(found.format,))
            return np.asarray(_in_colour(ImageOps.exif_transpose(image), behind=WHITE))
    except (OSError, ValueError, SyntaxError, EOFError, IndexError) as error:
        raise DataError("the image is damaged or cut off") from error


def _in_colour(image, behind: int):
    """Red, green and blue; what lets through has a grey behind it."""
    from PIL import Image

    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        whole = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", whole.size, (behind,) * 3 + (255,)), whole).convert("RGB")
    return image.convert("RGB")


def gif(clip: np.ndarray) -> bytes:
    """uint8 (frames, h, w, 1 or 3) -> an animated GIF of all of them, in at most 256 colours a frame."""
    from PIL import Image

    first, *rest = (Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame) for frame in clip)
    out = io.BytesIO()
    first.save(out, "GIF", save_all=True, append_images=rest, duration=80, loop=0)
    return out.getvalue()


def natural(name: str) -> list:
    """A key by which frame 10 follows frame 9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", name)]
