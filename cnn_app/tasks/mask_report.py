"""What is measured of maps against masks: a confusion matrix of pixels, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_app.errors import ModelError
from cnn_app.tasks.mistakes import Mistake


@dataclass(frozen=True)
class Report:
    """How well maps fit masks, over all pixels of n images that count."""

    n: int
    confusion: np.ndarray  # (true, predicted) pixels
    loss: float  # mean cross-entropy of a pixel in nats
    labels: tuple[str, ...]

    @property
    def iou(self) -> np.ndarray:
        """(classes,): intersection over union; NaN for a class that is neither there nor found."""
        inside = np.diag(self.confusion)
        union = self.confusion.sum(0) + self.confusion.sum(1) - inside
        return np.where(union > 0, inside / np.maximum(union, 1), np.nan)

    @property
    def metrics(self) -> dict:
        right = float(np.diag(self.confusion).sum() / max(1, self.confusion.sum()))
        return {"mean_iou": float(np.nanmean(self.iou)), "pixel_accuracy": right, "loss": self.loss, "n": self.n}

    def tables(self) -> list[tuple[list[str], list[tuple]]]:
        shares = self.confusion.sum(1) / max(1, self.confusion.sum())
        rows = [(label, "" if np.isnan(iou) else f"{iou:.4f}", f"{share:.1%}")
                for label, iou, share in zip(self.labels, self.iou, shares, strict=True)]  # fmt: skip
        return [(["class", ">IoU", ">of the pixels"], rows)]

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
