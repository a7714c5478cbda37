"""One class for each record: logits (N, classes) against the places of classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cnn_app import data as sources
from cnn_app.data import Records
from cnn_app.data.dataset import Dataset, Split, in_memory
from cnn_app.data.division import Table, divided, table_of
from cnn_app.data.folder import merged
from cnn_app.errors import DataError
from cnn_app.inputs import Input
from cnn_app.names import TOP
from cnn_app.tasks.classification_report import Report, report
from cnn_app.tasks.probabilities import OUTPUT, OfRecords, best, class_weights, in_order, main, with_auxiliary
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    from cnn_app.recipe import Data, Schedule
    from cnn_app.tensors import Arrays

TARGET = "class"  # of a split: the place of its class among the labels, int64 (n,)


@dataclass(frozen=True, kw_only=True)
class Classification(OfRecords):
    name: ClassVar = "classification"
    monitor: ClassVar = ("top1", "-loss")
    batch_metrics: ClassVar = ("top1",)
    titles: ClassVar = {"top1": "top-1", "top5": "top-5", "loss": "loss (nats)"}
    probed: ClassVar = True
    described: ClassVar = "One for each label; they sum to one."

    @classmethod
    def of_specs(cls, taken: Input, outputs: dict[str, Spec]) -> Classification | None:
        """For one row of scores."""
        spec = next(iter(outputs.values()))
        plain = len(outputs) == 1 and spec.dtype == "float32" and len(spec.shape or ()) == 2
        return cls(input=taken) if plain else None

    def load(self, data: Data | Records) -> Dataset:
        """A named source, or a folder with the classes in it, with or without train/ val/ test/ above them."""
        records = self.named_records(data, TARGET)
        if records is None:
            return self._folder(data)
        return self._complete(sources.told(data), records.labels, records.splits)

    def _folder(self, data: Data) -> Dataset:
        root = Path(data.source)
        try:
            places, table = self.input.places(root), table_of(root)
            found = {name: self.input.by_class(place, root, data.encoding) for name, place in places.items()}
        except OSError as error:
            raise DataError(f"cannot read {error.filename}: {error.strerror}") from error
        for name, classes in found.items():
            if not classes:
                where = places[name]
                raise DataError(f"{where} has no classes with {self.input.plural} in it; see docs/data.md")
        if table:
            found = {"train": merged(found.values())}
        for name, classes in found.items():
            if extra := sorted(set(classes) - set(found["train"])):
                raise DataError(
                    f"{root}: {name} has the class {extra[0]!r}, which train lacks; add it there or remove it here"
                )
        labels = tuple(sorted(found["train"]))
        splits = {name: self._split(classes, labels) for name, classes in found.items()}
        return self._complete(data, labels, splits, table)

    def _complete(self, data: Data, labels: Sequence[str], splits: dict, table: Table | None = None) -> Dataset:
        source, named = data.source, ", ".join(labels) or "none"
        if len(labels) < 2:
            raise DataError(f"{source} has one class only ({named}); a classifier needs two or more")
        whole, how = divided(source, splits, data, self.strata, table)
        there = set(whole["train"].targets[TARGET].array)
        if missing := [label for place, label in enumerate(labels) if place not in there]:
            raise DataError(f"{source}: train has nothing of {', '.join(missing[:5])}; add some or remove the class")
        return Dataset(source, whole, tuple(labels), division=how)

    def _split(self, classes: dict[str, tuple[list[str], list]], labels: Sequence[str]) -> Split:
        names = [name for members, _ in classes.values() for name in members]
        records = [record for _, members in classes.values() for record in members]
        places = np.array([labels.index(label) for label, (members, _) in classes.items() for _ in members], np.int64)
        return Split(names, self.input.raw(records), {TARGET: in_memory(places)})

    def in_order(self, dataset: Dataset, labels: tuple[str, ...]) -> Dataset:
        return in_order(dataset, labels, lambda column, place: in_memory(place[column.array]), TARGET)

    def strata(self, split: Split) -> np.ndarray:
        return split.targets[TARGET].array

    def augmented(self, inputs: dict, targets: dict, seed: tuple, names: tuple[str, ...]) -> tuple[dict, dict]:
        import tensorflow as tf

        inputs, shares = self.changed(inputs, tf.one_hot(targets[TARGET], len(self.labels)), seed, names)
        return inputs, {TARGET: shares}

    def objective(self, schedule: Schedule, split: Split) -> Callable:
        """Cross-entropy of smoothed shares, times the weight of the class; auxiliary outputs count for less.

        Raises DataError for a class of which no record is left.
        """
        import keras

        counts = np.bincount(split.targets[TARGET].array, minlength=len(self.labels))
        if counts.min() == 0:
            raise DataError(f"not one record of the class {self.labels[counts.argmin()]!r} in train can be read")
        weights = class_weights(counts, schedule.class_weights)

        def loss(outputs, targets):
            shares = targets[TARGET]

            def of(logits):
                return keras.losses.categorical_crossentropy(
                    shares, logits, from_logits=True, label_smoothing=schedule.label_smoothing
                )

            total = with_auxiliary(outputs, of)
            return total if weights is None else total * keras.ops.matmul(shares, weights)

        return loss

    def step_metrics(self, outputs, targets) -> dict:
        from keras import ops

        return {"top1": ops.cast(ops.argmax(main(outputs), -1) == ops.argmax(targets[TARGET], -1), "float32")}

    def right(self, outputs: Arrays, targets: Arrays) -> np.ndarray:
        return outputs[OUTPUT].argmax(-1) == targets[TARGET]

    def measure(self, batches: Iterable[tuple[Arrays, Arrays]]) -> Report:
        found = [(outputs[OUTPUT], targets[TARGET]) for outputs, targets in batches]
        return report(*(np.concatenate(parts) for parts in zip(*found, strict=True)), self.labels)

    def served(self, outputs: dict, table, encoded) -> dict:
        """Beside the probabilities the labels of the best classes, string (n, k), and theirs (n, k), the best first."""
        return outputs | best(outputs[OUTPUT], table)

    def named(self, outputs: Arrays) -> Arrays:
        return outputs | self.best(outputs[OUTPUT]) if self.labels else outputs

    def named_specs(self, outputs: dict[str, Spec]) -> dict[str, Spec]:
        sides = (None, min(TOP, len(self.labels)))
        return outputs | ({"classes": Spec("string", sides), "scores": Spec("float32", sides)} if self.labels else {})

    def answer(self, outputs: Arrays, top: int = TOP) -> dict:
        """{"top": [{"label", "probability"}]}, the best first; classes without labels are numbered."""
        probabilities = outputs[OUTPUT]
        labels = self.labels or tuple(map(str, range(len(probabilities))))
        order = np.argsort(-probabilities, kind="stable")[:top]
        return {"top": [{"label": labels[i], "probability": float(probabilities[i])} for i in order]}

    def text(self, answer: dict) -> str:
        return "  ".join(f"{row['label']} {row['probability']:.3f}" for row in answer["top"])

    def draw(self, outputs: Arrays, record: Arrays, name: str, path: Path) -> None:
        from cnn_app.tasks.drawing import draw_top

        picture = self.input.picture(record) if self.input.pictured else None
        draw_top(self.answer(outputs)["top"], picture, name, path)

    def shown(self, inputs: Arrays, targets: Arrays) -> tuple[np.ndarray, str]:
        from cnn_app.tasks.drawing import caption

        return self.input.picture(inputs), caption(self.labels, targets[TARGET])
