"""Occlusion: Zeiler and Fergus, arXiv:1311.2901, section 4.2: how far the probability falls where a patch is grey."""

import numpy as np

from cnn_app.analysis.attribution import Explained

PATCHES = 6  # that lie side by side along the shorter side; they move by a quarter of their own
BATCH = 32


def heat(explained: Explained, image: np.ndarray) -> np.ndarray:
    """The mean over the patches that cover a pixel."""
    (name,) = explained.runtime.inputs
    before = explained.probability(explained.runtime.run({name: image[None]}))[0]
    side = max(1, min(image.shape[:2]) // PATCHES)
    grey = np.round(image.mean((0, 1))).astype(image.dtype)
    windows = [
        (slice(top, top + side), slice(left, left + side))
        for top in _starts(image.shape[0], side)
        for left in _starts(image.shape[1], side)
    ]
    fallen, covered = np.zeros(image.shape[:2]), np.zeros(image.shape[:2])
    for start in range(0, len(windows), BATCH):
        part = windows[start : start + BATCH]
        hidden = np.repeat(image[None], len(part), 0)
        for copy, window in zip(hidden, part, strict=True):
            copy[window] = grey
        after = explained.probability(explained.runtime.run({name: hidden}))
        for window, lost in zip(part, before - after, strict=True):
            fallen[window] += lost
            covered[window] += 1
    return np.maximum(fallen / covered, 0)


def _starts(length: int, side: int) -> list[int]:
    """Every quarter of a side, the last one at the end."""
    return sorted({*range(0, length - side, max(1, side // 4)), length - side})
