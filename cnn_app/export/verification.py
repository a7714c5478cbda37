"""The same held-out images through the Keras model and through a written file: how far are they apart?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cnn_app.artifacts import size_bytes
from cnn_app.errors import ArtifactError, ExportError
from cnn_app.runtimes import latency, open_model


@dataclass(frozen=True)
class Comparison:
    """One file against the Keras model, on n held-out images."""

    target: str
    n: int
    top1: float
    keras_top1: float
    agreement: float  # share of equal top-1 answers
    max_difference: float  # of any probability
    bytes: int
    latency_ms: float  # median of one image on one thread
    delegates: int | None = None  # XNNPACK's; None where the runtime has none
    outside: dict[str, int] | None = None  # operators outside them
    strategy: str = ""  # what was done to keep within the budget

    @property
    def drop(self) -> float:
        """Points of top-1 lost."""
        return 100 * (self.keras_top1 - self.top1)

    def as_json(self) -> dict:
        return asdict(self) | {"drop": self.drop}


def compare(
    target: str, path: Path, pixels: np.ndarray, labels: np.ndarray, reference: np.ndarray, strategy: str = ""
) -> Comparison:
    """reference: the Keras model's probabilities (n, classes) for the uint8 `pixels`."""
    try:
        probabilities = open_model(path).predict(pixels)
    except ArtifactError as error:
        raise ExportError(f"{target} was written, but its runtime refuses it: {error}") from error
    answers, expected = probabilities.argmax(1), reference.argmax(1)
    speed = latency.measure([path])[0]
    return Comparison(
        target=target,
        n=len(labels),
        top1=float((answers == labels).mean()),
        keras_top1=float((expected == labels).mean()),
        agreement=float((answers == expected).mean()),
        max_difference=float(np.abs(probabilities - reference).max()),
        bytes=size_bytes(path),
        latency_ms=speed.median_ms,
        delegates=speed.delegates,
        outside=speed.outside,
        strategy=strategy,
    )
