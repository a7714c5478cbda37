"""Images with labels, in splits. Everything downstream (training, calibration, evaluation) reads a Split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from cnn_app.errors import DataError

VAL_SHARE, TEST_SHARE = 0.15, 0.15
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """n images of any size.

    read: a scalar int64 tensor, the index, -> uint8 (height, width, channels); runs inside tf.data.
    problem: an index -> why that image must not even be decoded, or None; for images from outside.
    array: the same images as one uint8 array (n, H, W, C), once they were brought to one size and fit in memory.
    """

    names: Sequence[str]  # of the images, for messages
    labels: np.ndarray  # (n,) int64
    read: Callable
    problem: Callable[[int], str | None] | None = None
    array: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def tensor(self):
        """`array` as a tensor, made once: epochs share it instead of copying it."""
        import tensorflow as tf

        return tf.constant(self.array)

    def take(self, indices: np.ndarray) -> Split:
        """The images at `indices`, in that order."""
        import tensorflow as tf

        indices = np.asarray(indices, np.int64)
        place = tf.constant(indices)
        return Split(
            [self.names[i] for i in indices],
            self.labels[indices],
            lambda i: self.read(place[i]),
            self.problem and (lambda i: self.problem(indices[i])),
            None if self.array is None else self.array[indices],
        )


@dataclass(frozen=True)
class Dataset:
    """A source's splits. `val` and `test` always exist: see `complete`."""

    source: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    skipped: tuple[str, ...] = ()  # unreadable images that were left out, with the reason

    def in_order(self, labels: Sequence[str]) -> Dataset:
        """The same images, labelled by the places of their classes in `labels`, which must be the same classes."""
        if set(labels) != set(self.classes):
            lacking, extra = sorted(set(self.classes) - set(labels)), sorted(set(labels) - set(self.classes))
            parts = [f"the model does not know {', '.join(lacking[:5])}"] * bool(lacking)
            parts += [f"the data has no {', '.join(extra[:5])}"] * bool(extra)
            raise DataError(
                f"{self.source} has other classes than the model: {'; '.join(parts)}; finetune makes a new head"
            )
        place = np.array([list(labels).index(name) for name in self.classes])
        done = {id(split): replace(split, labels=place[split.labels]) for split in self.splits.values()}
        splits = {name: done[id(split)] for name, split in self.splits.items()}
        return replace(self, classes=tuple(labels), splits=splits)

    def counts(self) -> dict[str, int]:
        return {name: len(split) for name, split in self.splits.items()}

    def fingerprint(self) -> str:
        """SHA-256 over classes and, for each split, the images' names and labels."""
        digest = hashlib.sha256("\n".join(self.classes).encode())
        for name in SPLITS:
            split = self.splits[name]
            lines = (f"{image}\t{label}" for image, label in zip(split.names, split.labels, strict=True))
            digest.update("\n".join((name, *lines)).encode())
        return digest.hexdigest()


def split_of(name: str) -> str:
    """Which split an image falls into by its name alone, so that adding images never moves old ones."""
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    return "test" if share < TEST_SHARE else "val" if share < TEST_SHARE + VAL_SHARE else "train"


def by_hash(split: Split, among: Sequence[str] = SPLITS) -> dict[str, Split]:
    """Divide `split` by the hash of the file names; the shares of splits that are not wanted go to train."""
    where = np.array([split_of(name.rsplit("/", 1)[-1]) for name in split.names], "<U5")  # as long as "train"
    where[~np.isin(where, among)] = "train"
    return {name: split.take(np.flatnonzero(where == name)) for name in among}


def complete(source: str, classes: Sequence[str], splits: dict[str, Split]) -> Dataset:
    """A Dataset whose three splits exist: a missing val is divided off train, and for a missing test val stands in."""
    if len(classes) < 2:
        raise DataError(f"{source} has one class only ({', '.join(classes) or 'none'}); a classifier needs two or more")
    if "val" not in splits and "test" not in splits:
        splits = by_hash(splits["train"])
    elif "val" not in splits:
        splits = by_hash(splits["train"], ("train", "val")) | {"test": splits["test"]}
    elif "test" not in splits:
        splits = splits | {"test": splits["val"]}
    for name in SPLITS:
        missing = [classes[label] for label in range(len(classes)) if label not in splits[name].labels]
        if len(splits[name]) == 0:
            raise DataError(
                f"{source}: no image falls into {name}; add images, or make train/ and val/ folders yourself"
            )
        if missing and name == "train":
            raise DataError(
                f"{source}: train has no image of {', '.join(missing[:5])}; add images of it or remove the class"
            )
    return Dataset(source, tuple(classes), {name: splits[name] for name in SPLITS})


def from_array(names: Sequence[str], labels: np.ndarray, array: np.ndarray) -> Split:
    """A split of images that are in memory already: uint8 (n, H, W, C)."""
    import tensorflow as tf

    images = tf.constant(array)
    return Split(names, np.asarray(labels, np.int64), lambda i: images[i], array=array)
