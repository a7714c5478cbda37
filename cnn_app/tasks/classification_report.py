"""What is measured of probabilities against one class for each record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cnn_app.tasks.mistakes import Mistake

BINS = 15  # of confidence, equally wide (arXiv:1706.04599, section 5)


@dataclass(frozen=True)
class Report:
    """How well probabilities fit classes. All shares are of the n records.

    Means over classes leave out what is neither there nor found.
    """

    n: int
    top1: float
    top5: float
    loss: float  # mean cross-entropy in nats
    per_class: dict[str, float]  # label -> recall; a class without records is left out
    confusion: np.ndarray  # (true, predicted) counts
    labels: tuple[str, ...] = ()
    ece: float = 0.0  # expected calibration error: how far confidence and top-1 are apart
    wrong: list[Mistake] = field(default_factory=list, repr=False)  # the most confident first

    @property
    def scores(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Precision, recall and F1, each (classes,); 0 where nothing divides."""
        return precision_recall_f1(np.diag(self.confusion), self.confusion.sum(0), self.confusion.sum(1))

    @property
    def metrics(self) -> dict:
        counted = self.confusion.sum(0) + self.confusion.sum(1) > 0
        means = zip(
            ("precision", "recall", "f1"), (float(column[counted].mean()) for column in self.scores), strict=True
        )
        return {"top1": self.top1, "top5": self.top5, "loss": self.loss, "n": self.n, **dict(means), "ece": self.ece}

    def tables(self) -> list[tuple[list[str], list[tuple]]]:
        numbers = ([f"{one:.4f}" for one in column] for column in self.scores)
        rows = zip(self.labels, *numbers, self.confusion.sum(1), strict=True)
        means = (f"{self.metrics[name]:.4f}" for name in ("precision", "recall", "f1", "ece"))
        return [
            (["class", ">precision", ">recall", ">F1", ">n"], [row for row in rows if row[-1]]),
            ([">macro precision", ">macro recall", ">macro F1", ">calibration error"], [tuple(means)]),
        ]

    def as_json(self) -> dict:
        counts, columns = self.confusion.sum(1).tolist(), (column.tolist() for column in self.scores)
        classes = {label: dict(zip(("precision", "recall", "f1", "n"), row, strict=True))
                   for label, *row in zip(self.labels, *columns, counts, strict=True)}  # fmt: skip
        more = {"per_class": self.per_class, "classes": classes, "confusion": self.confusion.tolist()}
        return self.metrics | more

    def draw(self, path: Path) -> None:
        from cnn_app.tasks.drawing import draw_confusion

        draw_confusion(self.confusion, self.labels, f"top-1 {self.top1:.1%} of {self.n:,}", path)

    def mistakes(self, most: int) -> list[Mistake]:
        return self.wrong[:most]


def report(probabilities: np.ndarray, places: np.ndarray, labels: Iterable[str]) -> Report:
    """Compare (n, classes) with (n,)."""
    labels = tuple(labels)
    ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    hits = ranked == places[:, None]
    found, confidence = ranked[:, 0], np.take_along_axis(probabilities, ranked[:, :1], 1)[:, 0]
    confusion = np.zeros((len(labels), len(labels)), int)
    np.add.at(confusion, (places, found), 1)
    recalls = {labels[i]: float(row[i] / row.sum()) for i, row in enumerate(confusion) if row.sum()}
    losses = -np.log(np.maximum(probabilities[np.arange(len(places)), places], 1e-12))
    wrong = [
        Mistake(int(i), labels[places[i]], labels[found[i]], float(confidence[i]))
        for i in np.argsort(-confidence, kind="stable")
        if not hits[i, 0]
    ]
    return Report(
        n=len(places), top1=float(hits[:, 0].mean()), top5=float(hits.any(1).mean()), loss=float(losses.mean()),
        per_class=recalls, confusion=confusion, labels=labels, ece=calibration_error(confidence, hits[:, 0]),
        wrong=wrong,
    )  # fmt: skip


def precision_recall_f1(
    right: np.ndarray, found: np.ndarray, there: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each (classes,), of counts (classes,): what was found rightly, what was found, and what there is."""
    return right / np.maximum(found, 1), right / np.maximum(there, 1), 2 * right / np.maximum(found + there, 1)


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """How far confidence (n,) and the share of what is right are apart, mean over bins by their records.

    Guo et al., arXiv:1706.04599, equation 3; bin m holds confidences in ((m - 1) / 15, m / 15].
    """
    bins = np.clip(np.ceil(confidence.astype(np.float64) * BINS).astype(int) - 1, 0, BINS - 1)
    apart = np.bincount(bins, confidence.astype(np.float64) - right, BINS)
    return float(np.abs(apart).sum() / len(confidence))
