"""Any number of classes for each record: logits (N, classes) against a 0 or 1 for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cnn_app import data as sources
from cnn_app.data import Records
from cnn_app.data.dataset import Column, Dataset, Split, in_memory
from cnn_app.data.division import Table, divided, table_of
from cnn_app.errors import DataError, RecipeError, unknown
from cnn_app.inputs import Input, files
from cnn_app.names import TOP
from cnn_app.tasks import label_tables as tables
from cnn_app.tasks.multilabel_report import Report
from cnn_app.tasks.probabilities import OUTPUT, OfRecords, best, in_order, main, with_auxiliary
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    from cnn_app.recipe import Data, Schedule
    from cnn_app.tensors import Arrays

TARGET = "labels"  # of a split: 1 for what is there, uint8 (n, classes)
LOSSES = ("bce", "asymmetric")
FOCUS_NEGATIVE, FOCUS_POSITIVE, CLIP = 4, 1, 0.05  # of the asymmetric loss (arXiv:2009.14119, sections 2.3 and 3.2)
THRESHOLD = 0.5  # where none was chosen
SHOWN = 6  # labels under an image


@dataclass(frozen=True, kw_only=True)
class Multilabel(OfRecords):
    loss: str = "bce"
    thresholds: Mapping[str, float] = field(default_factory=dict, hash=False)  # label -> the probability it must exceed

    name: ClassVar = "multilabel"
    monitor: ClassVar = ("map", "-loss")
    batch_metrics: ClassVar = ("exact_match",)
    titles: ClassVar = {"map": "mAP", "f1": "macro F1", "exact_match": "exact match", "loss": "loss (nats)"}
    learned: ClassVar = ("thresholds",)
    described: ClassVar = "One for each label, by itself."

    def __post_init__(self):
        if self.loss not in LOSSES:
            raise unknown("loss of multilabel", str(self.loss), LOSSES, RecipeError)
        if not isinstance(self.thresholds, Mapping):
            raise RecipeError(f"thresholds are numbers by label, received {self.thresholds!r}")
        for label, value in self.thresholds.items():
            if type(value) not in (int, float) or not 0 <= value <= 1:
                raise RecipeError(f"the threshold of {label} is a number from 0 to 1, received {value!r}")

    @classmethod
    def of_specs(cls, taken: Input, outputs: dict[str, Spec]) -> None:
        """Nothing tells the scores of a file that says nothing of itself from those of one class."""

    @property
    def limits(self) -> np.ndarray:
        """The thresholds, float32 (classes,)."""
        return np.array([self.thresholds.get(label, THRESHOLD) for label in self.labels], np.float32)

    def load(self, data: Data | Records) -> Dataset:
        """`shapes:many`, a folder with labels.csv in it or in its train/ val/ test/, that file, or arrays."""
        records = self.named_records(data, TARGET)
        if records is None:
            return self._tables(data)
        splits = {name: _checked(data.source, split, len(records.labels)) for name, split in records.splits.items()}
        return self._complete(sources.told(data), records.labels, splits)

    def _tables(self, data: Data) -> Dataset:
        if self.input.kind != "image":
            raise DataError(f"{tables.NAME} is for images; give {self.input.plural} as arrays")
        place = Path(data.source)
        found, table = tables.tables(place, data.encoding), table_of(place)
        root = place.parent if place.is_file() else place
        if table:
            found = {"train": tables.merged(root, found.values())}
        labels = tables.classes(found)
        splits = {
            name: Split(
                [files.relative(path, root) for path in table.paths],
                self.input.raw(list(map(str, table.paths))),
                {TARGET: in_memory(tables.matrix(table.rows, labels))},
            )
            for name, table in found.items()
        }
        return self._complete(data, labels, splits, table)

    def _complete(self, data: Data, labels: Sequence[str], splits: dict, table: Table | None = None) -> Dataset:
        if not labels:
            raise DataError(f"{data.source} has no label at all; one or more are needed")
        whole, how = divided(data.source, splits, data, self.strata, table)
        missing = [labels[i] for i in np.flatnonzero(whole["train"].targets[TARGET].array.sum(0) == 0)]
        if missing:
            raise DataError(
                f"{data.source}: train has nothing of {', '.join(missing[:5])}; add some or remove the label"
            )
        return Dataset(data.source, whole, tuple(labels), division=how)

    def in_order(self, dataset: Dataset, labels: tuple[str, ...]) -> Dataset:
        def moved(column: Column, place: np.ndarray) -> Column:
            return in_memory(column.array[:, np.argsort(place)])

        return in_order(dataset, labels, moved, TARGET)

    def strata(self, split: Split) -> np.ndarray:
        """The rarest label of each record; one number more for those without any."""
        there = split.targets[TARGET].array.astype(bool)
        counts = there.sum(0)
        rarest = np.where(there, counts, len(there) + 1).argmin(1)
        return np.where(there.any(1), rarest, there.shape[1])

    def augmented(self, inputs: dict, targets: dict, seed: tuple, names: tuple[str, ...]) -> tuple[dict, dict]:
        import tensorflow as tf

        inputs, shares = self.changed(inputs, tf.cast(targets[TARGET], tf.float32), seed, names)
        return inputs, {TARGET: shares}

    def objective(self, schedule: Schedule, split: Split) -> Callable:
        """Mean over the classes of binary cross-entropy, or of the asymmetric loss (arXiv:2009.14119, equation 7).

        Balanced weights multiply the part of what is there by the ratio of records without the label to those with it.
        Raises DataError for a label of which no record is left.
        """
        from keras import ops

        there = split.targets[TARGET].array.astype(np.int64)
        counts = there.sum(0)
        if counts.min() == 0:
            raise DataError(f"not one record with the label {self.labels[counts.argmin()]!r} in train can be read")
        balanced = schedule.class_weights != "none"
        weights = (np.maximum(len(there) - counts, 1) / counts if balanced else np.ones(len(counts))).astype(np.float32)
        smooth = schedule.label_smoothing

        def cross_entropy(logits):
            return -ops.log_sigmoid(logits), -ops.log_sigmoid(-logits)

        def asymmetric(logits):
            present, absent = ops.sigmoid(logits), ops.minimum(ops.sigmoid(-logits) + CLIP, 1.0)
            return (-ops.log_sigmoid(logits) * (1 - present) ** FOCUS_POSITIVE,
                    -ops.log(absent) * (1 - absent) ** FOCUS_NEGATIVE)  # fmt: skip

        parts = {"bce": cross_entropy, "asymmetric": asymmetric}[self.loss]

        def loss(outputs, targets):
            shares = targets[TARGET] * (1 - smooth) + smooth / 2

            def of(logits):
                positive, negative = parts(logits)
                return ops.mean(shares * weights * positive + (1 - shares) * negative, -1)

            return with_auxiliary(outputs, of)

        return loss

    def imitated(self, outputs, targets, wanted, temperature: float):
        """The divergence of each label's softened probability, mean over the labels."""
        from keras import ops

        ours, theirs = (ops.cast(one, "float32") / temperature for one in (main(outputs), wanted))
        sides = ((ops.sigmoid(sign * theirs), ops.log_sigmoid(sign * theirs), ops.log_sigmoid(sign * ours))
                 for sign in (1, -1))  # fmt: skip
        return temperature**2 * ops.mean(sum(chance * (wanted - found) for chance, wanted, found in sides), -1)

    def step_metrics(self, outputs, targets) -> dict:
        from keras import ops

        right = (main(outputs) > 0) == (targets[TARGET] > 0.5)
        return {"exact_match": ops.cast(ops.all(right, -1), "float32")}

    def measure(self, batches: Iterable[tuple[Arrays, Arrays]]) -> Report:
        found = [(outputs[OUTPUT], targets[TARGET]) for outputs, targets in batches]
        probabilities, there = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return Report(probabilities, there.astype(bool), self.limits, self.labels)

    def settled(self, report: Report) -> Multilabel:
        """With the thresholds that are best for F1 on these records."""
        found = dict(zip(self.labels, map(float, report.best_thresholds(THRESHOLD)), strict=True))
        return replace(self, thresholds=found)

    def agreement(self, found: Arrays, wanted: Arrays) -> float:
        """The share of equal decisions, of each label of each record."""
        limits = self.limits
        return float(((found[OUTPUT] > limits) == (wanted[OUTPUT] > limits)).mean())

    def served(self, outputs: dict, table, encoded) -> dict:
        """Beside the probabilities all labels by these, `classes`, `scores` and whether they are `present`, (n, k)."""
        import tensorflow as tf

        scores = outputs[OUTPUT]
        found, places = tf.math.top_k(scores, scores.shape[-1], index_type=tf.int64)
        return outputs | best(scores, table, scores.shape[-1]) | {"present": found > tf.gather(self.limits, places)}

    def named(self, outputs: Arrays) -> Arrays:
        scores = outputs[OUTPUT]
        present = np.take_along_axis(scores > self.limits, np.argsort(-scores, axis=1, kind="stable"), 1)
        return outputs | self.best(scores, len(self.labels)) | {"present": present}

    def named_specs(self, outputs: dict[str, Spec]) -> dict[str, Spec]:
        sides = (None, len(self.labels))
        return outputs | {"classes": Spec("string", sides), "scores": Spec("float32", sides),
                          "present": Spec("bool", sides)}  # fmt: skip

    def answer(self, outputs: Arrays, top: int = TOP) -> dict:
        """{"labels": those above their thresholds, "top": [{"label", "probability"}]}, the most probable first."""
        probabilities = outputs[OUTPUT]
        order = np.argsort(-probabilities, kind="stable")
        present = probabilities > self.limits
        rows = [{"label": self.labels[i], "probability": float(probabilities[i])} for i in order[:top]]
        return {"labels": [self.labels[i] for i in order if present[i]], "top": rows}

    def text(self, answer: dict) -> str:
        shown = "  ".join(f"{row['label']} {row['probability']:.3f}" for row in answer["top"])
        return f"{', '.join(answer['labels']) or 'no label'}  ({shown})"

    def draw(self, outputs: Arrays, record: Arrays, name: str, path: Path) -> None:
        from cnn_app.tasks.drawing import draw_top

        picture = self.input.picture(record) if self.input.pictured else None
        answer = self.answer(outputs)
        draw_top(answer["top"], picture, f"{name}: {', '.join(answer['labels']) or 'no label'}", path)

    def shown(self, inputs: Arrays, targets: Arrays) -> tuple[np.ndarray, str]:
        from cnn_app.tasks.drawing import caption

        return self.input.picture(inputs), caption(self.labels, targets[TARGET], SHOWN) or "no label"


def _checked(source: str, split: Split, classes: int) -> Split:
    """Records of others' making: a 0 or 1 for each class, as bytes."""
    there = split.targets[TARGET].array
    if there.shape != (len(split), classes) or there.dtype.kind not in "biu" or not np.isin(there, (0, 1)).all():
        raise DataError(f"{source}: labels are 0 or 1 in (n, {classes}), received {there.dtype} {there.shape}")
    return Split(split.names, split.inputs, {TARGET: in_memory(there.astype(np.uint8))})
