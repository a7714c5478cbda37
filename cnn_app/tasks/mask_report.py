"""What is measured of maps against masks: a confusion matrix of pixels, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_app.errors import ModelError
from cnn_app.tasks import boundaries
from cnn_app.tasks.masks import IGNORED
from cnn_app.tasks.mistakes import Mistake


@dataclass(frozen=True)
class Report:
    """How well maps fit masks, over all pixels of n images that count."""

    n: int
    confusion: np.ndarray  # (true, predicted) pixels
    loss: float  # mean cross-entropy of a pixel in nats
    labels: tuple[str, ...]
    boundary_f1: np.ndarray  # (classes,), NaN for a class without any boundary

    @property
    def iou(self) -> np.ndarray:
        """(classes,): intersection over union; NaN for a class that is neither there nor found."""
        inside = np.diag(self.confusion)
        union = self.confusion.sum(0) + self.confusion.sum(1) - inside
        return np.where(union > 0, inside / np.maximum(union, 1), np.nan)

    @property
    def metrics(self) -> dict:
        right = float(np.diag(self.confusion).sum() / max(1, self.confusion.sum()))
        return {"mean_iou": mean(self.iou), "pixel_accuracy": right,
                "boundary_f1": mean(self.boundary_f1), "loss": self.loss, "n": self.n}  # fmt: skip

    def tables(self) -> list[tuple[list[str], list[tuple]]]:
        shares = self.confusion.sum(1) / max(1, self.confusion.sum())
        columns = zip(self.labels, self.iou, self.boundary_f1, shares, strict=True)
        rows = [(label, _shown(iou), _shown(edge), f"{share:.1%}") for label, iou, edge, share in columns]
        return [(["class", ">IoU", ">boundary F1", ">of the pixels"], rows)]

    def as_json(self) -> dict:
        known = {label: float(iou) for label, iou in zip(self.labels, self.iou, strict=True) if not np.isnan(iou)}
        return self.metrics | {"iou": known, "confusion": self.confusion.tolist()}

    def draw(self, path: Path) -> None:
        from cnn_app.tasks.drawing import draw_confusion

        draw_confusion(
            self.confusion, self.labels, f"pixels of {self.n:,} images; mean IoU {self.metrics['mean_iou']:.3f}", path
        )

    def mistakes(self, most: int) -> list[Mistake]:
        raise ModelError(
            "a mask is right or wrong by the pixel, so there are no wrong images; --confusion counts pixels"
        )


def report(batches: Iterable[tuple[np.ndarray, np.ndarray]], labels: tuple[str, ...]) -> Report:
    """Of probabilities (b, h, w, classes) and masks (b, h, w), counted over the whole set."""
    classes = len(labels)
    confusion, loss, records = np.zeros((classes, classes), np.int64), 0.0, 0
    edges = np.zeros((4, classes), np.int64)
    for found, masks in batches:
        masks = np.asarray(masks)
        edges += sum(boundaries.counts(*pair, classes) for pair in zip(found.argmax(-1), masks, strict=True))
        mask = masks.reshape(-1)
        counted = mask != IGNORED
        true, rows = mask[counted].astype(np.int64), found.reshape(-1, classes)[counted]
        confusion += np.bincount(true * classes + rows.argmax(1), minlength=classes**2).reshape(classes, classes)
        loss -= float(np.log(np.maximum(rows[np.arange(len(true)), true], 1e-12)).sum())
        records += len(found)
    return Report(records, confusion, loss / max(1, int(confusion.sum())), labels, boundaries.f1(edges))


def mean(values: np.ndarray) -> float:
    """Of those that are numbers; 0 if there is none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else 0.0


def _shown(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"
