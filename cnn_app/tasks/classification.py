"""One label for each image: logits (N, classes) against labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MAIN = "logits"  # the output that counts; others help while training
AUXILIARY_WEIGHT = 0.3  # of their losses (arXiv:1409.4842, section 5)


@dataclass(frozen=True)
class Report:
    """How well probabilities fit labels. All shares are of the n images."""

    n: int
    top1: float
    top5: float
    loss: float  # mean cross-entropy in nats
    per_class: dict[str, float]  # label -> recall; a class without images is left out
    confusion: np.ndarray  # (true, predicted) counts

    @property
    def figures(self) -> dict:
        """What a card says of it."""
        return {"top1": self.top1, "top5": self.top5, "loss": self.loss, "n": self.n}

    def as_json(self) -> dict:
        return self.figures | {"per_class": self.per_class, "confusion": self.confusion.tolist()}


def compile_arguments(model, label_smoothing: float) -> dict:
    """Loss and metrics for `model.compile`; labels are one-hot so that they can be smoothed and mixed.

    A network with auxiliary classifiers has a dict of outputs: their losses count AUXILIARY_WEIGHT each.
    """
    import keras

    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)
    metric = keras.metrics.CategoricalAccuracy(name="top1")
    if not isinstance(model.output, dict):
        return {"loss": loss, "metrics": [metric]}
    weights = {name: 1.0 if name == MAIN else AUXILIARY_WEIGHT for name in model.output}
    return {"loss": dict.fromkeys(weights, loss), "loss_weights": weights, "metrics": {MAIN: [metric]}}


def targets(model, labels):
    """The labels for each output of `model`."""
    return dict.fromkeys(model.output, labels) if isinstance(model.output, dict) else labels


def class_weights(labels: np.ndarray, classes: Iterable[str], kind: str) -> np.ndarray | None:
    """Weights (classes,) of the loss for one-hot labels: "balanced" is n / (classes * images of the class)."""
    if kind == "none":
        return None
    counts = np.bincount(labels, minlength=len(list(classes)))
    return (len(labels) / (len(counts) * np.maximum(counts, 1))).astype(np.float32)


def report(probabilities: np.ndarray, labels: np.ndarray, classes: Iterable[str]) -> Report:
    """Compare (n, classes) with (n,)."""
    classes = list(classes)
    labels = np.asarray(labels)
    ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    hits = ranked == labels[:, None]
    confusion = np.zeros((len(classes), len(classes)), int)
    np.add.at(confusion, (labels, ranked[:, 0]), 1)
    recalls = {classes[i]: float(row[i] / row.sum()) for i, row in enumerate(confusion) if row.sum()}
    losses = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-12))
    return Report(
        len(labels), float(hits[:, 0].mean()), float(hits.any(1).mean()), float(losses.mean()), recalls, confusion
    )


def top(probabilities: np.ndarray, labels: Iterable[str], k: int = 5) -> list[dict]:
    """The k most probable labels of one image, the best first."""
    labels = list(labels)
    order = np.argsort(-probabilities, kind="stable")[:k]
    return [{"label": labels[i], "probability": float(probabilities[i])} for i in order]


def draw_confusion(result: Report, classes: Iterable[str], path: Path) -> None:
    """The confusion matrix as a PNG: shares of each true class, with counts where they fit."""
    from matplotlib.figure import Figure

    from cnn_app.artifacts import replacing

    classes = list(classes)
    shares = result.confusion / np.maximum(1, result.confusion.sum(1, keepdims=True))
    side = min(16.0, 3 + 0.45 * len(classes))
    figure = Figure((side + 1, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    axes.set(xlabel="predicted", ylabel="true", title=f"top-1 {result.top1:.1%} of {result.n:,} images")
    if len(classes) <= 60:
        axes.set_xticks(range(len(classes)), classes, rotation=90)
        axes.set_yticks(range(len(classes)), classes)
    if len(classes) <= 25:
        for (row, column), count in np.ndenumerate(result.confusion):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, f"{count}", ha="center", va="center", color=colour, fontsize=8)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    with replacing(path) as scratch:
        figure.savefig(scratch, dpi=120, format="png")
