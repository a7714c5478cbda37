"""Records in splits: named inputs and named targets, each a column that is read when it is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from cnn_app.tensors import Spec

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Column:
    """One tensor of n records.

    read: a scalar int64 tensor, the place, -> the tensor of that record; runs inside tf.data.
    problem: a place -> why that record must not even be decoded, or None; for what comes from outside.
    array: all of them, (n, ...), where they have one shape and fit in memory.
    fault: a place -> what is wrong with a record that cannot be read.
    sample: as `read`, with a seed: drawn anew in each epoch of training, by the augmentations that `sampled` names.
    spec: of each record, where that is known of all and they can be read for sure.
    files: the one that each record is read from, where what it holds tells alone whether it can be read.
    kept: values (n, ...) that reading fills, and which of them it has filled by now, (n,) bool.
    """

    read: Callable
    problem: Callable[[int], str | None] | None = None
    array: np.ndarray | None = None
    fault: Callable[[int], str] | None = None
    sample: Callable | None = None
    sampled: tuple[str, ...] = ()
    spec: Spec | None = None
    files: Sequence[str] | None = None
    kept: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def whole(self) -> np.ndarray | None:
        """All of them, (n, ...), where they are in memory by now."""
        return self.kept[0] if self.kept is not None and self.kept[1].all() else self.array

    @cached_property
    def tensor(self):
        """`whole` as a tensor, made once: epochs share it instead of copying it."""
        import tensorflow as tf

        with tf.init_scope():  # it may first be asked for inside of tf.data
            return tf.constant(self.whole)

    def one(self, place: int) -> np.ndarray:
        return self.read(place).numpy() if self.whole is None else self.whole[place]

    def take(self, places: np.ndarray) -> Column:
        """The records at `places`, in that order."""
        import tensorflow as tf

        where = tf.constant(places)
        return Column(
            lambda i: self.read(where[i]),
            self.problem and (lambda i: self.problem(places[i])),
            None if self.array is None else self.array[places],
            self.fault and (lambda i: self.fault(places[i])),
            self.sample and (lambda i, seed: self.sample(where[i], seed)),
            self.sampled,
            self.spec,
            self.files and [self.files[place] for place in places],
        )


def in_memory(array: np.ndarray) -> Column:
    """A column of what is in memory already, (n, ...)."""
    column = Column(lambda i: column.tensor[i], array=array)
    return column


@dataclass(frozen=True, eq=False)
class Split:
    """n records: what goes into a network, and what is to come out."""

    names: Sequence[str]  # for messages
    inputs: dict[str, Column]
    targets: dict[str, Column] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def columns(self) -> dict[str, Column]:
        return self.inputs | self.targets

    def take(self, places) -> Split:
        """The records at `places`, in that order."""
        places = np.asarray(places, np.int64)
        parts = ({name: column.take(places) for name, column in part.items()} for part in (self.inputs, self.targets))
        return Split([self.names[i] for i in places], *parts)


@dataclass(frozen=True)
class Dataset:
    """A source's splits. `val` and `test` always exist: see `division.divided`."""

    source: str
    splits: Mapping[str, Split]
    labels: tuple[str, ...] = ()  # names of classes, where there are some
    skipped: list[str] = field(default_factory=list)  # unreadable records that were left out, with the reason
    division: Mapping = field(default_factory=dict)  # what made the splits, as a card says it

    def counts(self) -> dict[str, int]:
        return {name: len(split) for name, split in self.splits.items()}

    def fingerprint(self) -> str:
        """SHA-256 over labels and, for each split, the records' names and targets as far as they are in memory."""
        digest = hashlib.sha256("\n".join(self.labels).encode())
        for name in SPLITS:
            split = self.splits[name]
            known = [column.array for column in split.columns.values() if column.array is not None]
            lines = ["\t".join((record, *_keys(known, i))) for i, record in enumerate(split.names)]
            digest.update("\n".join((name, *lines)).encode())
        return digest.hexdigest()

    def figures(self, split: str, metrics: Mapping) -> dict:
        """`metrics` of a split; those of a test that val stands in for say so, for `called`."""
        return {**metrics} | ({"split": "val"} if self.division.get(split) == "val" else {})

    def distinct(self) -> dict[str, Split]:
        """The splits without a test that is val."""
        return {name: split for name, split in self.splits.items()
                if name != "test" or split is not self.splits["val"]}  # fmt: skip


def _keys(arrays: list[np.ndarray], i: int) -> list[str]:
    """Of the scalars and rows of a record; larger ones are told by the record's name."""
    return [str(array[i]) if array.ndim == 1 else array[i].tobytes().hex() for array in arrays if array.ndim < 3]


def called(figures: Mapping) -> str:
    """What figures of test are called."""
    return "val (no test split)" if figures.get("split") == "val" else "test"


def mapped(dataset: Dataset, change: Callable[[Split], Split], **changes) -> Dataset:
    """`dataset` with every split changed, a test that is val once."""
    done = {id(split): change(split) for split in dataset.distinct().values()}
    splits = {name: done[id(split)] for name, split in dataset.splits.items()}
    return replace(dataset, splits=splits, **changes)
