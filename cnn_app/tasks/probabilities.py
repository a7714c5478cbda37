"""What tasks share whose networks give probabilities of classes along the last axis: of a record, or of each place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cnn_app import heads
from cnn_app.data.dataset import Column, Dataset, Split, mapped
from cnn_app.errors import DataError
from cnn_app.inputs import Input
from cnn_app.names import TOP

if TYPE_CHECKING:
    import keras

    from cnn_app.data.pipeline import Samplers
    from cnn_app.tensors import Arrays

OUTPUT = "probabilities"


@dataclass(frozen=True, kw_only=True)
class Probabilities:
    input: Input
    labels: tuple[str, ...] = ()

    name: ClassVar[str]  # the task's, and its head's

    def columns(self) -> dict:
        return self.input.columns() | {"classes": len(self.labels)}

    @property
    def key(self) -> dict[str, str]:
        return {}

    def samplers(self, names: tuple[str, ...]) -> Samplers:
        return self.input.samplers(names)

    def deployed(self, model: keras.Model) -> keras.Model:
        return heads.named(self.name).deployed(model)

    def agreement(self, found: Arrays, wanted: Arrays) -> float:
        """The share of equal decisions: of records, or of their places."""
        return float((found[OUTPUT].argmax(-1) == wanted[OUTPUT].argmax(-1)).mean())

    def averaged(self, several: list[Arrays]) -> Arrays:
        return {OUTPUT: np.mean([outputs[OUTPUT] for outputs in several], 0)}

    def reordered(self, outputs: Arrays, places: list[int]) -> Arrays:
        return {OUTPUT: outputs[OUTPUT][..., places]}

    def best(self, scores: np.ndarray) -> Arrays:
        """The labels of the best classes by `scores` (n, classes), and theirs: `classes` and `scores` (n, k)."""
        places = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
        return {"classes": np.array(self.labels, object)[places], "scores": np.take_along_axis(scores, places, 1)}


def best(scores, table) -> dict:
    """`Probabilities.best` in TensorFlow's graph, with labels by a lookup table."""
    import tensorflow as tf

    found, places = tf.math.top_k(scores, min(TOP, scores.shape[-1]), index_type=tf.int64)
    return {"classes": table.lookup(places), "scores": found}


def class_weights(counts: np.ndarray, kind: str) -> np.ndarray | None:
    """Weights (classes,) of the loss: "balanced" is n / (classes * what there is of the class)."""
    if kind == "none":
        return None
    return (counts.sum() / (len(counts) * np.maximum(counts, 1))).astype(np.float32)


def in_order(dataset: Dataset, labels: tuple[str, ...], change: Callable[[Column, np.ndarray], Column], target: str):
    """`dataset` by the places of its classes in `labels`, which must be the same classes."""
    if set(labels) != set(dataset.labels):
        lacking, extra = sorted(set(dataset.labels) - set(labels)), sorted(set(labels) - set(dataset.labels))
        parts = [f"the model does not know {', '.join(lacking[:5])}"] * bool(lacking)
        parts += [f"the data has no {', '.join(extra[:5])}"] * bool(extra)
        raise DataError(
            f"{dataset.source} has other classes than the model: {'; '.join(parts)}; finetune makes a new head"
        )
    place = np.array([labels.index(label) for label in dataset.labels])

    def moved(split: Split) -> Split:
        return Split(split.names, split.inputs, split.targets | {target: change(split.targets[target], place)})

    return mapped(dataset, moved, labels=labels)
