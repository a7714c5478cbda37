"""What comes back for one record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cnn_app.errors import ServingError
from cnn_app.names import TOP

if TYPE_CHECKING:
    from cnn_app.tensors import Arrays


class RecordError(ServingError):
    """The server has no answer to this one record; others may have one."""


@dataclass(frozen=True)
class Answer:
    """The outputs for one record, by name and without a batch axis; strings are bytes in arrays of objects."""

    outputs: Arrays

    @property
    def probabilities(self) -> np.ndarray:
        """(classes,), float32; empty if the model does not give them."""
        return np.asarray(self.outputs.get("probabilities", ()), np.float32)

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the best classes, where the model names them."""
        return tuple(label.decode(errors="replace") for label in self.outputs.get("classes", ()))

    @property
    def scores(self) -> tuple[float, ...]:
        """The probabilities of `labels`."""
        return tuple(map(float, self.outputs.get("scores", ())))

    def top(self, k: int = TOP) -> list[dict]:
        """The best k, or as many as the server named: [{"label", "probability"}]."""
        probabilities = self.probabilities
        if self.labels:
            found = list(zip(self.labels, self.scores, strict=True))
        elif probabilities.size:
            order = np.argsort(-probabilities, kind="stable")
            found = [(str(i), float(probabilities[i])) for i in order]
        else:
            raise ServingError(f"the model answers with {', '.join(sorted(self.outputs))}; probabilities are expected")
        return [{"label": label, "probability": score} for label, score in found[:k]]
