"""What is measured of tags against the true ones: entities as conlleval counts them, and words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cnn_app.tasks import bio
from cnn_app.tasks.mistakes import Mistake


@dataclass(frozen=True, eq=False)
class Report:
    """How well tags of n sentences fit, (n, words) each; ABSENT behind the words. What was found is repaired."""

    found: np.ndarray
    wanted: np.ndarray
    scores: np.ndarray  # probabilities of what was found
    chances: np.ndarray  # of what is true
    labels: tuple[str, ...]

    @property
    def n(self) -> int:
        return len(self.found)

    @cached_property
    def counts(self) -> np.ndarray:
        """(3, kinds): entities that are right, found, there."""
        return bio.scheme(self.labels).counts(self.found, self.wanted)

    @property
    def metrics(self) -> dict:
        there = self.wanted >= 0
        nats = -np.log(np.maximum(self.chances[there].astype(np.float64), 1e-12))
        return rates(self.counts.sum(1)) | {
            "word_accuracy": float((self.found == self.wanted)[there].mean()),
            "loss": float(nats.mean()),
            "n": self.n,
        }

    def _by_kind(self) -> list[tuple[str, dict[str, float], int, int]]:
        kinds = bio.scheme(self.labels).kinds
        return [(kind, rates(counts), int(counts[1]), int(counts[2]))
                for kind, counts in zip(kinds, self.counts.T, strict=True)]  # fmt: skip

    def tables(self) -> list[tuple[list[str], list[tuple]]]:
        rows = [(kind, *(f"{value:.4f}" for value in found.values()), said, there)
                for kind, found, said, there in self._by_kind()]  # fmt: skip
        return [
            (["entity" if bio.is_bio(self.labels) else "tag", ">F1", ">precision", ">recall", ">found", ">n"], rows)
        ]

    def as_json(self) -> dict:
        kinds = {kind: found | {"found": said, "n": there} for kind, found, said, there in self._by_kind()}
        return self.metrics | {"entities": kinds}

    def draw(self, path: Path) -> None:
        from cnn_app.tasks.drawing import draw_bars

        rows = self._by_kind()
        title = f"F1 {self.metrics['f1']:.3f} on {self.n:,} sentences"
        draw_bars([kind for kind, *_ in rows], np.array([found["f1"] for _, found, *_ in rows]), "F1", title, path)

    def mistakes(self, most: int) -> list[Mistake]:
        """Of each sentence the wrong tag that was told with the highest probability."""
        sure = np.where((self.wanted >= 0) & (self.found != self.wanted), self.scores, 0.0)
        words = sure.argmax(1)
        told = sure[np.arange(self.n), words]
        order = [i for i in np.argsort(-told, kind="stable")[:most] if told[i] > 0]
        return [Mistake(int(i), self.labels[self.wanted[i, words[i]]], self.labels[self.found[i, words[i]]],
                        float(told[i])) for i in order]  # fmt: skip


def rates(counts: np.ndarray) -> dict[str, float]:
    """F1, precision and recall of (right, found, there); 0 where there is nothing to divide by."""
    right, found, there = map(float, counts)
    precision, recall = right / max(found, 1.0), right / max(there, 1.0)
    return {"f1": 2 * right / max(found + there, 1.0), "precision": precision, "recall": recall}
