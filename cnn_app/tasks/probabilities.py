"""What tasks share whose networks give probabilities of classes along the last axis: of a record, or of each place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from cnn_app import data as sources
from cnn_app import heads
from cnn_app.augmentations import MIXING
from cnn_app.data import Records
from cnn_app.data.dataset import Column, Dataset, Split, mapped
from cnn_app.errors import DataError
from cnn_app.names import TOP
from cnn_app.tasks.base import Base
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    from cnn_app.recipe import Data
    from cnn_app.tensors import Arrays

OUTPUT = "probabilities"
AUXILIARY_WEIGHT = 0.3  # of the losses of auxiliary outputs (arXiv:1409.4842, section 5)


@dataclass(frozen=True, kw_only=True)
class Probabilities(Base):
    taught: ClassVar = True

    def columns(self) -> dict:
        return self.input.columns() | {"classes": len(self.labels)}

    def imitated(self, outputs, targets, wanted, temperature: float):
        """Losses (b,) of logits against those of a teacher: the divergence of both, softened, times the square of the
        temperature, by which gradients keep their size; the mean over what counts of a record.
        """
        from keras import ops

        ours, theirs = (ops.log_softmax(ops.cast(one, "float32") / temperature, -1) for one in (main(outputs), wanted))
        nats = ops.sum(ops.exp(theirs) * (theirs - ours), -1)
        counted = ops.ones_like(nats) * self.counted(targets)
        rest = tuple(range(1, len(nats.shape)))
        return temperature**2 * ops.sum(nats * counted, rest) / ops.maximum(ops.sum(counted, rest), 1.0)

    def counted(self, targets):
        """Which parts of records count, as 1 and 0."""
        return 1.0

    def agreement(self, found: Arrays, wanted: Arrays) -> float:
        """The share of equal decisions: of records, or of their places."""
        return float((found[OUTPUT].argmax(-1) == wanted[OUTPUT].argmax(-1)).mean())

    def averaged(self, several: list[Arrays]) -> Arrays:
        return {OUTPUT: np.mean([outputs[OUTPUT] for outputs in several], 0)}

    def reordered(self, outputs: Arrays, places: list[int]) -> Arrays:
        return {OUTPUT: outputs[OUTPUT][..., places]}

    def best(self, scores: np.ndarray, most: int = TOP) -> Arrays:
        """The labels of the best classes by `scores` (n, classes), and theirs: `classes` and `scores` (n, k)."""
        places = np.argsort(-scores, axis=1, kind="stable")[:, :most]
        return {"classes": np.array(self.labels, object)[places], "scores": np.take_along_axis(scores, places, 1)}


@dataclass(frozen=True, kw_only=True)
class OfRecords(Probabilities):
    """Of whole records, (n, classes); targets are told as shares of the classes, for they may be mixed."""

    described: ClassVar[str]  # the probabilities, for people
    memorised: ClassVar = 1.0

    @property
    def views(self) -> tuple[str, ...]:
        return self.input.views

    @property
    def familiar(self) -> bool:
        return self.input.familiar

    @property
    def augmentations(self) -> tuple[str, ...]:
        return (*self.input.augmentations, *(MIXING if self.input.kind == "image" else ()))

    def converters(self) -> dict[str, tuple[Spec, Callable]]:
        return self.input.converters()

    def named_records(self, data: Data | Records, target: str) -> Records | None:
        """Of arrays or a named source, with the columns that are needed; None for a folder."""
        records = sources.named(data)
        for split in records.splits.values() if records else ():
            if set(split.inputs) != set(self.input.converters()) or set(split.targets) != {target}:
                has = ", ".join([*split.inputs, *split.targets])
                needed = ", ".join(self.input.converters())
                raise DataError(f"{data.source} has {has}; {needed} and {target} are needed")
        return records

    def changed(self, inputs: dict, shares, seed: tuple, names: tuple[str, ...]) -> tuple[dict, Any]:
        """Inputs and shares of classes (b, classes), augmented."""
        from cnn_app.inputs.augment import mixed

        known = self.input.augmentations
        inputs = self.input.augmented(inputs, seed, tuple(name for name in names if name in known))
        if set(names) & set(MIXING):
            (name, tensor), *_ = inputs.items()
            tensor, shares = mixed(tensor, shares, seed, names)
            inputs = {name: tensor}
        return inputs, shares

    def tensor_metadata(self, schema, labels_file) -> list:
        """TFLite's TensorMetadata of the outputs."""
        scores, content, stats = schema.TensorMetadataT(), schema.ContentT(), schema.StatsT()
        scores.name, scores.description = OUTPUT, self.described
        content.contentPropertiesType = schema.ContentProperties.FeatureProperties
        content.contentProperties = schema.FeaturePropertiesT()
        stats.min, stats.max = [0.0], [1.0]
        scores.content, scores.stats, scores.associatedFiles = content, stats, [labels_file]
        return [scores]


def main(outputs):
    """The logits that count."""
    return outputs[heads.MAIN] if isinstance(outputs, dict) else outputs


def with_auxiliary(outputs, of: Callable):
    """The losses `of` logits (b, classes); those of auxiliary outputs count for less."""
    total = of(main(outputs))
    for name in outputs if isinstance(outputs, dict) else ():
        if name != heads.MAIN:
            total = total + AUXILIARY_WEIGHT * of(outputs[name])
    return total


def best(scores, table, most: int = TOP) -> dict:
    """`Probabilities.best` in TensorFlow's graph, with labels by a lookup table."""
    import tensorflow as tf

    found, places = tf.math.top_k(scores, min(most, scores.shape[-1]), index_type=tf.int64)
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
