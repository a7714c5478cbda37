"""What is measured of images that went through a code, against themselves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_app.errors import ModelError
from cnn_app.tasks.mistakes import Mistake
from cnn_app.tensors import Arrays

SMALLEST = 1e-7  # probability that is told apart from none, of files that give no logits


@dataclass(frozen=True)
class Report:
    """Of n images, each an array (n,); the last two are those of variational autoencoders whose draws are known."""

    errors: np.ndarray  # mean squared error of a pixel in [0, 1]
    nats: np.ndarray  # cross-entropy of the pixels, summed
    drawn: np.ndarray | None = None  # the same of the image of a draw
    divergence: np.ndarray | None = None  # from the prior, nats
    in_nats: bool = False  # whether the loss is a cross-entropy

    @property
    def n(self) -> int:
        return len(self.errors)

    @property
    def metrics(self) -> dict:
        mse, nats = float(self.errors.mean()), float(self.nats.mean())
        if self.drawn is None or self.divergence is None:
            return {"mse": mse, "loss": nats if self.in_nats else mse, "n": self.n}
        reconstruction, kl = float(self.drawn.mean()), float(self.divergence.mean())
        bound = -(reconstruction + kl)
        return {"mse": mse, "elbo": bound, "reconstruction": reconstruction, "kl": kl, "loss": -bound, "n": self.n}

    def tables(self) -> list[tuple[list[str], list[tuple]]]:
        return []

    def as_json(self) -> dict:
        return self.metrics

    def draw(self, path: Path) -> None:
        from cnn_app.tasks.reconstruction_pictures import draw_errors

        draw_errors(self.errors, path)

    def mistakes(self, most: int) -> list[Mistake]:
        raise ModelError("an image is more or less like its reconstruction, so there are no wrong ones; `cnn-app "
                         "reconstruct` draws those with the largest error")  # fmt: skip


def report(batches: Iterable[tuple[Arrays, np.ndarray]], in_nats: bool) -> Report:
    """Of outputs with images "reconstruction" in [0, 1], and pixels in [0, 255] that they are to be like.

    "drawn" among the outputs are logits, with "code" and "log_variance" of the distributions that were drawn from.
    """
    columns: dict[str, list[np.ndarray]] = {}
    for outputs, pixels in batches:
        wanted = np.asarray(pixels, np.float32) / 255
        found = outputs["reconstruction"]
        told = {"errors": squared(found, wanted), "nats": cross_entropy(logits(found), wanted)}
        if "drawn" in outputs:
            told["drawn"] = cross_entropy(outputs["drawn"], wanted)
            told["divergence"] = divergence(outputs["code"], outputs["log_variance"])
        for name, values in told.items():
            columns.setdefault(name, []).append(values)
    return Report(**{name: np.concatenate(parts) for name, parts in columns.items()}, in_nats=in_nats)


def squared(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(n,) of images (n, h, w, c) in [0, 1]."""
    return np.square(found.astype(np.float64) - wanted).mean((1, 2, 3))


def cross_entropy(logits: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(n,): nats of Bernoulli pixels whose probabilities are `wanted`, in expectation."""
    logits = logits.astype(np.float64)
    return (np.maximum(logits, 0) - logits * wanted + np.log1p(np.exp(-np.abs(logits)))).sum((1, 2, 3))


def logits(probabilities: np.ndarray) -> np.ndarray:
    clipped = probabilities.astype(np.float64).clip(SMALLEST, 1 - SMALLEST)
    return np.log(clipped / (1 - clipped))


def divergence(mean: np.ndarray, log_variance: np.ndarray) -> np.ndarray:
    """(n,): nats from normal distributions (n, d) to the standard one."""
    mean, log_variance = mean.astype(np.float64), log_variance.astype(np.float64)
    return 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum(-1)
