"""How well the boundaries of classes are met: the boundary F1 of Csurka et al. (BMVC 2013), over a whole set.

A pixel of a class lies on its boundary if one of its four neighbours in the image is of another class. One that lies
within the tolerance of a boundary of the same class on the other side is met; distances are the larger of rows and
columns, so that they are found by shifts.
"""

from __future__ import annotations

import numpy as np

from cnn_app.tasks.masks import IGNORED

TOLERANCE = 0.0075  # of the diagonal, as in section 3 there


def counts(found: np.ndarray, true: np.ndarray, classes: int) -> np.ndarray:
    """Two masks (h, w), IGNORED where nothing counts -> (4, classes): edge pixels met and all, found and true."""
    counted = true != IGNORED
    reach = max(1, round(TOLERANCE * float(np.hypot(*true.shape))))
    edges = [np.where(_edge(mask, counted), mask, IGNORED) for mask in (found.astype(np.uint8), true)]
    total = np.zeros((4, classes), np.int64)
    for place in np.union1d(*edges):
        if place < classes:
            one, other = (edge == place for edge in edges)
            total[:, place] = (
                (one & _near(other, reach)).sum(),
                one.sum(),
                (other & _near(one, reach)).sum(),
                other.sum(),
            )
    return total


def f1(total: np.ndarray) -> np.ndarray:
    """`counts`, added up -> (classes,); NaN for a class without a boundary on both sides."""
    precision, recall = (total[i] / np.maximum(total[i + 1], 1) for i in (0, 2))
    score = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return np.where(total[1] + total[3] > 0, score, np.nan)


def _edge(mask: np.ndarray, counted: np.ndarray) -> np.ndarray:
    edge = np.zeros(mask.shape, bool)
    for axis in (0, 1):
        differs = np.diff(mask.astype(np.int16), axis=axis) != 0
        low, high = [slice(None)] * 2, [slice(None)] * 2
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        differs &= counted[tuple(low)] & counted[tuple(high)]
        edge[tuple(low)] |= differs
        edge[tuple(high)] |= differs
    return edge


def _near(places: np.ndarray, reach: int) -> np.ndarray:
    """Where a true place lies within `reach` rows and columns."""
    for axis in (0, 1):
        padded = np.pad(places, [(reach, reach) if axis == i else (0, 0) for i in (0, 1)])
        side = places.shape[axis]
        shifted = (padded.take(range(by, by + side), axis) for by in range(2 * reach + 1))
        places = np.logical_or.reduce(list(shifted))
    return places
