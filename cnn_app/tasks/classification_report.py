"""What is measured of probabilities against one class for each record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Report:
    """How well probabilities fit classes. All shares are of the n records."""

    n: int
    top1: float
    top5: float
    loss: float  # mean cross-entropy in nats
    per_class: dict[str, float]  # label -> recall; a class without records is left out
    confusion: np.ndarray  # (true, predicted) counts
    labels: tuple[str, ...] = ()

    @property
    def metrics(self) -> dict:
        return {"top1": self.top1, "top5": self.top5, "loss": self.loss, "n": self.n}

    def tables(self) -> list[tuple[list[str], list[tuple]]]:
        counts = self.confusion.sum(1)
        classes = zip(self.per_class.items(), counts[counts > 0], strict=True)
        rows = [(label, f"{recall:.4f}", count) for (label, recall), count in classes]
        return [(["class", ">recall", ">n"], rows)]

    def as_json(self) -> dict:
        return self.metrics | {"per_class": self.per_class, "confusion": self.confusion.tolist()}

    def draw(self, path: Path) -> None:
        from cnn_app.tasks.drawing import draw_confusion

        draw_confusion(self.confusion, self.labels, f"top-1 {self.top1:.1%} of {self.n:,}", path)


def report(probabilities: np.ndarray, places: np.ndarray, labels: Iterable[str]) -> Report:
    """Compare (n, classes) with (n,)."""
    labels = tuple(labels)
    ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    hits = ranked == places[:, None]
    confusion = np.zeros((len(labels), len(labels)), int)
    np.add.at(confusion, (places, ranked[:, 0]), 1)
    recalls = {labels[i]: float(row[i] / row.sum()) for i, row in enumerate(confusion) if row.sum()}
    losses = -np.log(np.maximum(probabilities[np.arange(len(places)), places], 1e-12))
    return Report(len(places), float(hits[:, 0].mean()), float(hits.any(1).mean()), float(losses.mean()), recalls,
                  confusion, labels)  # fmt: skip
