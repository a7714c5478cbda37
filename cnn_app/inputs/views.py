"""Several views of each image, whose answers are averaged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cnn_app.registry import CROP_SHARE


@dataclass(frozen=True)
class Views:
    """Windows of an image of `size`, each `image` large, and whether each is also looked at from behind."""

    size: tuple[int, int]
    image: tuple[int, int]
    corners: tuple[tuple[int, int], ...]
    flip: bool

    def of(self, pixels: np.ndarray) -> Iterator[np.ndarray]:
        """Each view of pixels (n, *size, C)."""
        height, width = self.image
        windows = [pixels[:, y : y + height, x : x + width] for y, x in self.corners]
        windows += [window[:, :, ::-1] for window in windows] if self.flip else []
        return map(np.ascontiguousarray, windows)


def views_of(image: tuple[int, ...], names: tuple[str, ...]) -> Views:
    """The whole image; with "crop" the corners and the centre of one 8/7 as large, 224 of 256; with "flip" mirrored.

    Both together are AlexNet's ten views (Krizhevsky et al. 2012, section 4.1).
    """
    height, width = image[:2]
    if "crop" not in names:
        return Views((height, width), (height, width), ((0, 0),), "flip" in names)
    tall, wide = round(height / CROP_SHARE), round(width / CROP_SHARE)
    bottom, right = tall - height, wide - width
    corners = ((0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2))
    return Views((tall, wide), (height, width), corners, "flip" in names)
