"""One image larger than its network, by tiles whose maps overlap: a row of tiles at a time, in NumPy.

Where maps meet, each fades into the other over half of their overlap, so there is no seam; the outer quarters, which
see the end of their tile, do not count. `sharp` cuts in the middle of the overlap instead: where half of it is as far
as the network sees, that is what the network says of the whole image. A map that is smaller than its tile lies in the
middle of it, and what lacks around the image is mirrored (arXiv:1505.04597, Figure 2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

ALIGN = 32  # pixels; tiles start at multiples, as the pixels that a stride takes do


@dataclass(frozen=True)
class Axis:
    """Where maps of `size` begin along a side of `total` pixels; the last ends with it, unless it is too short."""

    total: int
    size: int
    starts: tuple[int, ...]

    @classmethod
    def of(cls, total: int, size: int, overlap: int) -> Axis:
        step = (size - overlap) // ALIGN * ALIGN or size - overlap
        return cls(total, size, (*range(0, total - size, step), max(0, total - size)))

    def cuts(self, place: int) -> tuple[int, int]:
        """From where to where the map at `place` is nearest: the middles of its overlaps, or the ends of the image."""
        middles = [(other + before + self.size) // 2 for before, other in pairwise(self.starts)]
        return [0, *middles][place], [*middles, self.total][place]

    def weights(self, place: int) -> np.ndarray:
        """(size,): one in the middle, falling over half of each overlap, sin^2 and its complement."""
        here, cuts = self.starts[place], self.cuts(place)
        points = here + np.arange(self.size) + 0.5
        found = np.ones(self.size, np.float32)
        for other, cut, sign in zip((place - 1, place + 1), cuts, (1, -1), strict=True):
            if 0 <= other < len(self.starts):
                width = (self.size - abs(self.starts[other] - here)) / 2
                rising = np.clip(sign * (points - cut) / width + 0.5, 0, 1) if width else sign * (points - cut) > 0
                found *= np.sin(np.pi / 2 * rising) ** 2
        return found

    def mirrored(self, tile: int) -> np.ndarray:
        """The pixel of each place along all tiles of `tile` pixels, in whose middle the maps lie."""
        before = (tile - self.size) // 2
        behind = self.starts[-1] + tile - before - self.total
        return np.pad(np.arange(self.total), (before, max(0, behind)), mode="reflect")


def mask_of(
    image: np.ndarray, look: Callable[[np.ndarray], np.ndarray], tile: tuple[int, int], shown: tuple[int, int],
    overlap: int, sharp: bool = False,
) -> np.ndarray:  # fmt: skip
    """The places of classes of an image (H, W, C), uint8 (H, W).

    look: pixels of a tile -> its map `shown` large: scores (h, w, classes), or the places themselves (h, w), which
        are always cut sharply.
    overlap: pixels that maps share at least.
    """
    down, across = (Axis.of(*sides, overlap) for sides in zip(image.shape[:2], shown, strict=True))
    found = np.zeros(image.shape[:2], np.uint8)
    rows, columns = down.mirrored(tile[0]), across.mirrored(tile[1])
    band: np.ndarray | None = None  # weighted scores of the rows in flight, around and around
    for place, top in enumerate(down.starts):
        for number, left in enumerate(across.starts):
            taken = image[np.ix_(rows[top : top + tile[0]], columns[left : left + tile[1]])]
            scores = look(taken)
            if sharp or scores.ndim == 2:
                (y, below), (x, right) = down.cuts(place), across.cuts(number)
                part = scores[y - top : below - top, x - left : right - left]
                found[y:below, x:right] = part if part.ndim == 2 else part.argmax(-1)
                continue
            if band is None:
                band = np.zeros((shown[0], max(image.shape[1], shown[1]), scores.shape[-1]), np.float32)
            weights = np.multiply.outer(down.weights(place), across.weights(number))
            ring = np.arange(top, top + shown[0]) % shown[0]
            band[ring, left : left + shown[1]] += weights[..., None] * scores
        if band is not None:
            for row in _finished(down, place):
                found[row] = band[row % shown[0], : image.shape[1]].argmax(-1)
                band[row % shown[0]] = 0
    return found


def _finished(down: Axis, place: int) -> Iterator[int]:
    """Rows that no later row of tiles adds to."""
    last = place + 1 == len(down.starts)
    yield from range(down.starts[place], down.total if last else down.starts[place + 1])
