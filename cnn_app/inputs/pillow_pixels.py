"""Bytes -> pixels without TensorFlow, for an installation that only asks files: `pixels`, by Pillow and in float32.

They decode alike and weigh alike; where a sum lies close to a half the two may round apart, by 1 of 255.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from cnn_app.errors import DataError
from cnn_app.inputs import headers
from cnn_app.registry import CROP, STRETCH

if TYPE_CHECKING:
    from cnn_app.inputs.frame import Frame

LUMA = np.array((0.299, 0.587, 0.114), np.float32)  # of red, green and blue in grey (ITU-R BT.601)


def load(data: bytes, name: str, image: Frame) -> np.ndarray:
    """One image from outside as a uint8 array of the shape of `image`; `name` is for the error."""
    try:
        headers.read(data)
    except DataError as error:
        raise DataError(f"cannot read {name}: {error}") from error
    try:
        return decoder(image)(data)
    except DataError as error:
        raise DataError(f"cannot read {name}: {error}") from error


def decoder(image: Frame) -> Callable[[bytes], np.ndarray]:
    """`load` for images that `headers` has nothing against; it may be called in threads."""

    def read_one(data: bytes) -> np.ndarray:
        try:
            return framed(decoded(data), image)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError("the image is damaged or cut off") from error

    return read_one


def decoded(data: bytes) -> np.ndarray:
    """Upright, over white, uint8 (h, w, 3)."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
        image = opened
        if image.mode.startswith("I;16"):  # the higher byte counts
            exif = image.getexif()
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image.info["exif"] = exif.tobytes()
        image = ImageOps.exif_transpose(image)
        see_through = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
        if not see_through or opened.format == "GIF":
            return np.asarray(image.convert("RGB"))
        pixels = np.asarray(image.convert("RGBA"), np.float32)
    alpha = pixels[..., 3:] / np.float32(255)
    return np.round(pixels[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def framed(pixels: np.ndarray, image: Frame) -> np.ndarray:
    """uint8 (h, w, 3) -> uint8 of the shape of `image`, as `framing` has it."""
    height, width, channels = image.shape
    if channels not in (1, 3):
        raise DataError(f"images have 1 or 3 channels, the network wants {channels}")
    scaled, before = _window(pixels.shape[:2], (height, width), image)
    found = np.zeros((height, width, 3), np.float32)
    if image.resize in (STRETCH, CROP):
        found[:] = _resized(pixels, scaled, before, (height, width))
    else:
        top, left = (-side for side in before)
        found[top : top + scaled[0], left : left + scaled[1]] = _resized(pixels, scaled, (0, 0), scaled)
    if channels == 1:
        found = (found @ LUMA)[..., None]
    return np.round(np.clip(found, 0, 255)).astype(np.uint8)


def _resized(pixels: np.ndarray, scaled, before, size) -> np.ndarray:
    """The window of `size` behind `before` of the image at the sides `scaled`, float32 (*size, 3)."""
    from PIL import Image

    scale = [full / side for full, side in zip(scaled, pixels.shape[:2], strict=True)]
    (top, left), (bottom, right) = ([(start + extra) / by for start, extra, by in zip(before, more, scale, strict=True)]
                                    for more in ((0, 0), size))  # fmt: skip
    box = left, top, min(right, pixels.shape[1]), min(bottom, pixels.shape[0])
    planes = [Image.fromarray(pixels[..., colour].astype(np.float32)) for colour in range(3)]
    sized = [plane.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box) for plane in planes]
    return np.stack([np.asarray(plane) for plane in sized], -1)


def _window(sides: tuple[int, ...], target: tuple[int, int], image: Frame) -> tuple[tuple[int, int], tuple[int, int]]:
    """As `framing.window`: an image's sides when scaled, and how much of it lies before the network's window."""
    if image.resize == STRETCH:
        return target, (0, 0)
    share = image.crop_share if image.resize == CROP else 1.0
    full = [int(np.round(np.float32(side) / np.float32(share))) for side in target]
    ratio = [whole / side for whole, side in zip(full, sides, strict=True)]
    leading = int(np.argmax(ratio) if image.resize == CROP else np.argmin(ratio))
    scaled = tuple(max(side * full[leading] // sides[leading], 1) for side in sides)
    before = tuple(int(np.round((whole - side) / 2)) for whole, side in zip(scaled, target, strict=True))
    return scaled, before  # type: ignore[return-value]
