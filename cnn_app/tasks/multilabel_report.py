"""What is measured of probabilities against any number of classes for each record."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cnn_app.tasks.classification_report import precision_recall_f1
from cnn_app.tasks.mistakes import Mistake


@dataclass(frozen=True, eq=False)
class Report:
    """How well probabilities fit labels. Means over classes leave out what is neither there nor found."""

    probabilities: np.ndarray  # (n, classes)
    there: np.ndarray  # bool (n, classes)
    thresholds: np.ndarray  # float32 (classes,)
    labels: tuple[str, ...]

    @property
    def n(self) -> int:
        return len(self.there)

    @cached_property
    def average_precision(self) -> np.ndarray:
        """(classes,): the area under precision by recall, in steps as scikit-learn has it; NaN without a record."""
        return np.array([_area(*column) for column in zip(self.probabilities.T, self.there.T, strict=True)])

    @cached_property
    def found(self) -> np.ndarray:
        """bool (n, classes): what is above its threshold."""
        return self.probabilities > self.thresholds

    @cached_property
    def scores(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Precision, recall and F1 at the thresholds, each (classes,); 0 where nothing divides."""
        return precision_recall_f1((self.found & self.there).sum(0), self.found.sum(0), self.there.sum(0))

    @property
    def metrics(self) -> dict:
        known = ~np.isnan(self.average_precision)
        counted = (self.found | self.there).any(0)
        chances = np.where(self.there, self.probabilities, 1 - self.probabilities.astype(np.float64))
        return {
            "map": float(self.average_precision[known].mean()) if known.any() else 0.0,
            "f1": float(self.scores[2][counted].mean()) if counted.any() else 0.0,
            "exact_match": float((self.found == self.there).all(1).mean()),
            "loss": float(-np.log(np.maximum(chances, 1e-12)).mean()),  # binary cross-entropy of a label
            "n": self.n,
        }

    def best_thresholds(self, otherwise: float) -> np.ndarray:
        """float32 (classes,): where F1 is highest; `otherwise` for classes of which there is no record."""
        columns = zip(self.probabilities.T, self.there.T, strict=True)
        return np.array([_threshold(*column) if column[1].any() else otherwise for column in columns], np.float32)

    def tables(self) -> list[tuple[list[str], list[tuple]]]:
        counts, area = self.there.sum(0), ("" if np.isnan(one) else f"{one:.4f}" for one in self.average_precision)
        numbers = ([f"{one:.4f}" for one in column] for column in (*self.scores, self.thresholds))
        rows = list(zip(self.labels, area, *numbers, counts, strict=True))
        return [(["class", ">AP", ">precision", ">recall", ">F1", ">threshold", ">n"], rows)]

    def as_json(self) -> dict:
        names = ("average_precision", "precision", "recall", "f1", "threshold")
        area = [None if np.isnan(one) else float(one) for one in self.average_precision]
        columns = (area, *(column.tolist() for column in (*self.scores, self.thresholds)))
        counts = self.there.sum(0).tolist()
        return self.metrics | {"classes": {
            label: dict(zip(names, row, strict=True)) | {"n": count}
            for label, count, *row in zip(self.labels, counts, *columns, strict=True)
        }}  # fmt: skip

    def draw(self, path: Path) -> None:
        from cnn_app.tasks.drawing import draw_bars

        title = f"mAP {self.metrics['map']:.3f} of {self.n:,}"
        draw_bars(self.labels, np.nan_to_num(self.average_precision), "average precision", title, path)

    def mistakes(self, most: int) -> list[Mistake]:
        """Of each record the decision that is wrong with most confidence."""
        confidence = np.where(self.found, self.probabilities, 1 - self.probabilities) * (self.found != self.there)
        worst = confidence.argmax(1)
        order = np.argsort(-confidence.max(1), kind="stable")
        rows = [(int(i), self.labels[worst[i]], float(confidence[i, worst[i]])) for i in order]
        return [Mistake(i, *((label, f"no {label}") if self.there[i, worst[i]] else (f"no {label}", label)), chance)
                for i, label, chance in rows if chance][:most]  # fmt: skip


def _curve(scores: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of one class: its distinct scores, the highest first, and how many records are found, and rightly, from each."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # the last of each score
    return scores[order][ends], ends + 1, np.cumsum(there[order])[ends]


def _area(scores: np.ndarray, there: np.ndarray) -> float:
    if not there.any():
        return np.nan
    _, found, right = _curve(scores, there)
    return float((np.diff(right, prepend=0) / there.sum() * (right / found)).sum())


def _threshold(scores: np.ndarray, there: np.ndarray) -> float:
    """In the middle between the lowest score that is best counted as found and the next: it bears some rounding."""
    distinct, found, right = _curve(scores.astype(np.float64), there)
    place = int((2 * right / (found + there.sum())).argmax())
    return float((distinct[place] + (distinct[place + 1] if place + 1 < len(distinct) else 0)) / 2)
