"""What is measured of classes and boxes against the true ones: intersection over union, and what is right."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cnn_app.tasks.mistakes import Mistake

RIGHT = 0.5  # intersection over union from which on a box counts as found


def overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (..., 4), x1, y1, x2, y2; 0 where one is empty."""
    inside = _area(np.concatenate([np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:], other[..., 2:])],
                                  -1))  # fmt: skip
    union = _area(one) + _area(other) - inside
    return np.where(union > 0, inside / np.maximum(union, 1e-12), 0.0)


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.maximum(boxes[..., 2:] - boxes[..., :2], 0).prod(-1)


@dataclass(frozen=True, eq=False)
class Report:
    """How well classes and boxes of n images fit."""

    probabilities: np.ndarray  # (n, classes)
    classes: np.ndarray  # (n,), the true ones
    iou: np.ndarray  # (n,)
    labels: tuple[str, ...]

    @property
    def n(self) -> int:
        return len(self.iou)

    @cached_property
    def found(self) -> np.ndarray:
        return self.probabilities.argmax(1)

    @cached_property
    def right(self) -> np.ndarray:
        """bool (n,): those whose class is right."""
        return self.found == self.classes

    @property
    def metrics(self) -> dict:
        chances = self.probabilities[np.arange(self.n), self.classes].astype(np.float64)
        return self._rates(np.ones(self.n, bool)) | {
            "loss": float((1 - self.iou - np.log(np.maximum(chances, 1e-12))).mean()),
            "n": self.n,
        }

    def _rates(self, chosen: np.ndarray) -> dict[str, float]:
        iou, right = self.iou[chosen], self.right[chosen]
        means = {"mean_iou": iou, "iou50": iou >= RIGHT, "top1": right, "both": right & (iou >= RIGHT)}
        return {name: float(values.mean()) if len(values) else 0.0 for name, values in means.items()}

    def _by_class(self) -> list[tuple[str, int, dict[str, float]]]:
        chosen = [self.classes == place for place in range(len(self.labels))]
        return [(label, int(one.sum()), self._rates(one)) for label, one in zip(self.labels, chosen, strict=True)]

    def tables(self) -> list[tuple[list[str], list[tuple]]]:
        rows = [(label, *(f"{value:.4f}" if n else "" for value in rates.values()), n)
                for label, n, rates in self._by_class()]  # fmt: skip
        return [(["class", ">mean IoU", ">IoU >= 0.5", ">top-1", ">both", ">n"], rows)]

    def as_json(self) -> dict:
        return self.metrics | {"classes": {label: rates | {"n": n} for label, n, rates in self._by_class()}}

    def draw(self, path: Path) -> None:
        from cnn_app.tasks.drawing import draw_bars

        shares = np.array([rates["mean_iou"] for _, _, rates in self._by_class()])
        title = f"mean IoU {self.metrics['mean_iou']:.3f} of {self.n:,}"
        draw_bars(self.labels, shares, "mean IoU", title, path)

    def mistakes(self, most: int) -> list[Mistake]:
        """Of a wrong class or too far off, those of the least overlap first."""
        wrong = np.flatnonzero(~(self.right & (self.iou >= RIGHT)))
        order = wrong[np.argsort(self.iou[wrong], kind="stable")][:most]
        return [Mistake(int(i), self.labels[self.classes[i]], f"{self.labels[self.found[i]]}, IoU {self.iou[i]:.2f}",
                        float(self.probabilities[i, self.found[i]])) for i in order]  # fmt: skip
