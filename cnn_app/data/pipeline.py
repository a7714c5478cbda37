"""From a raw split to batches: read, convert, keep in memory where it fits, shuffle, augment. All of it is tf.data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import tensorflow as tf

from cnn_app.data import known as remembered
from cnn_app.data import memory
from cnn_app.data.dataset import Column, Dataset, Split
from cnn_app.data.known import Known
from cnn_app.data.reading import filling, reader, sound_records
from cnn_app.errors import DataError
from cnn_app.tensors import Arrays, Spec

MEMORY_SHARE = 0.25  # of the free memory that decoded records may take
DAMAGED = "it is damaged or cut off"

Progress = Callable[[str, int, int], None]  # what is done, how much, of how much
Converters = Mapping[str, tuple[Spec, Callable]]  # column -> what it becomes, one record at a time
Samplers = Mapping[str, tuple[tuple[str, ...], Callable]]  # likewise, by a seed; and the augmentations that it does


class _Prepared(Mapping[str, Split]):
    """Splits that are converted when they are first asked for; a test that is val once."""

    def __init__(self, raw: Mapping[str, Split], convert: Callable[[str, Split], Split]):
        self.raw, self.convert = raw, convert
        self.done: dict[int, Split] = {}

    def __getitem__(self, name: str) -> Split:
        split = self.raw[name]
        if id(split) not in self.done:
            self.done[id(split)] = self.convert(name, split)
        return self.done[id(split)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.raw)

    def __len__(self) -> int:
        return len(self.raw)


def prepare(
    dataset: Dataset, converters: Converters, *, samplers: Samplers | None = None, skip_bad: bool = False,
    progress: Progress | None = None,
) -> Dataset:  # fmt: skip
    """Records as a network takes them, split by split as each is asked for; those of train may be drawn by `samplers`.

    Those that cannot be read are an error that names them, or are left out and end up in `skipped`.
    """
    skipped: list[str] = []
    known = Known(dataset.source, tf.__version__)

    def convert(name: str, split: Split) -> Split:
        drawn = samplers if samplers and name == "train" else {}
        tell = lambda i, n: progress and progress(f"reading {name}", i, n)  # noqa: E731
        found, bad = convert_split(split, converters, drawn, tell, known)
        if bad and not skip_bad:
            raise unreadable(dataset.source, bad)
        if not len(found):
            raise DataError(f"{dataset.source}: not one record of {name} can be read, such as {bad[0]}")
        skipped.extend(bad)
        return found

    return replace(dataset, splits=_Prepared(dataset.splits, convert), skipped=skipped)


def unreadable(source: str, bad: Sequence[str]) -> DataError:
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    return DataError(f"{source}: cannot read {bad[0]}{more}; remove it, or use --on-bad-image skip")


def convert_split(
    split: Split, converters: Converters, samplers: Samplers, progress: Callable[[int, int], object],
    known: Known | None = None, keep: bool | None = None,
) -> tuple[Split, list[str]]:  # fmt: skip
    """The split with its columns converted, and a line for each record that could not be read.

    Records are read now, but for those of files that are `known` to be sound: these are read when they are asked for.
    keep: whether they are kept in memory; None: where they fit.
    """
    todo = {name: converters[name] for name, column in split.columns.items()
            if name in converters and not _fits(column, converters[name][0])}  # fmt: skip
    if not todo:
        return split, []
    read = {name: reader(split.columns[name], function) for name, (_, function) in todo.items()}
    files = _files(split, todo) if known else None
    stamps = remembered.stamps(files) if files else []
    sure = known.sound(files, stamps) if known and files else np.zeros(len(split), bool)
    reasons = _problems(split, np.flatnonzero(~sure))
    sound = np.setdiff1d(np.flatnonzero(~sure), list(reasons))
    held = {name: ((len(split), *spec.shape), spec.dtype) for name, (spec, _) in todo.items() if name not in samplers}
    size = sum(np.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in held.values())
    keep = size <= MEMORY_SHARE * memory.available() if keep is None else keep
    arrays = {name: np.empty(shape, dtype) for name, (shape, dtype) in held.items()} if keep else {}
    there = np.zeros(len(split), bool)
    for count, (i, record) in enumerate(sound_records(read, sound), start=1):
        there[i] = True
        for name in arrays:
            arrays[name][i] = record[name]
        if count % 64 == 0:
            progress(count, len(split))
    progress(len(split), len(split))
    lost = np.flatnonzero(~(there | sure))
    if known and files and there.any():
        known.remember(*([part[i] for i in np.flatnonzero(there)] for part in (files, stamps)))
    bad = [f"{split.names[i]}: {reasons.get(i) or _fault(split, i)}" for i in lost]
    parts = [
        {
            name: _read(column, read[name], arrays.get(name), samplers.get(name), there if sure.any() else None)
            if name in read
            else column
            for name, column in part.items()
        }
        for part in (split.inputs, split.targets)
    ]
    whole = Split(split.names, *parts)
    return (whole.take(np.flatnonzero(there | sure)) if len(lost) else whole), bad


def _fits(column: Column, spec: Spec) -> bool:
    """Whether the records are as they are wanted."""
    if column.array is None:
        return column.spec == spec
    return column.array.shape[1:] == spec.shape and column.array.dtype == spec.dtype


def _files(split: Split, todo) -> Sequence[str] | None:
    """The file of each record, where all that is to be read is of one."""
    columns = [split.columns[name] for name in todo]
    return columns[0].files if len(columns) == 1 else None


def _read(
    column: Column, read: Callable, array: np.ndarray | None, sampler: tuple | None, there: np.ndarray | None
) -> Column:  # fmt: skip
    if sampler is not None:
        names, sample = sampler
        return Column(read, sample=lambda i, seed: sample(column.read(i), seed), sampled=names)
    return Column(read, array=array) if array is None or there is None else filling(read, array, there)


def _problems(split: Split, places: np.ndarray) -> dict[int, str]:
    """Place -> reason, of the records at `places` that are not safe to decode."""
    found: dict[int, str] = {}
    for column in split.columns.values():
        if column.problem is not None:
            with ThreadPoolExecutor() as pool:
                reasons = zip(places.tolist(), pool.map(column.problem, places.tolist()), strict=True)
                found = {i: reason for i, reason in reasons if reason} | found
    return found


def _fault(split: Split, i: int) -> str:
    """Why record `i` could not be converted, as far as a column can tell."""
    told = (column.fault(i) for column in split.columns.values() if column.fault is not None)
    return next((reason for reason in told if reason), DAMAGED)


def batches(split: Split, batch: int) -> tf.data.Dataset:
    """The prepared split in order: (inputs, targets), each named tensors (b, ...); the last batch may be smaller."""
    return _records(split, tf.data.Dataset.range(len(split)).batch(batch).map(lambda places: (places, places)), batch)


def training_batches(
    split: Split, batch: int, augment: Callable[[dict, dict, tuple], tuple[dict, dict]], *, seed: int, epoch: int,
    skip: int = 0, sample: bool = True,
) -> tf.data.Dataset:  # fmt: skip
    """One shuffled epoch without its first `skip` batches: (inputs, targets) as `augment(inputs, targets, seed)` makes
    them of what the columns read, or sample.

    Order and augmentation are functions of (seed, epoch, batch), so that an interrupted run goes on where it stood.
    """
    steps = steps_per_epoch(split, batch)
    size = min(batch, len(split))
    order = np.random.default_rng([seed, epoch]).permutation(len(split))[: steps * size].reshape(steps, size)
    numbers = np.arange(epoch * steps, (epoch + 1) * steps)
    positions = numbers[:, None] * size + np.arange(size)
    places = tf.data.Dataset.from_tensor_slices((order[skip:], positions[skip:]))
    records = _records(split, places, size, seed if sample else None)

    def finish(number, record):
        return augment(*record, (seed, number))

    return (
        tf.data.Dataset.zip(tf.data.Dataset.from_tensor_slices(numbers[skip:]), records)
        .map(finish, tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )


def steps_per_epoch(split: Split, batch: int) -> int:
    """Full batches in an epoch; a split smaller than a batch is one."""
    return max(1, len(split) // batch)


def stratified(strata: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """`count` places, the values of `strata` (n,) as evenly as they allow."""
    order = np.random.default_rng(seed).permutation(len(strata))
    shuffled = strata[order]
    rank = np.zeros(len(strata), int)  # the how-manieth of its kind
    for value in np.unique(shuffled):
        rank[shuffled == value] = np.arange((shuffled == value).sum())
    return order[np.argsort(rank, kind="stable")[:count]]


def arrays(split: Split, batch: int) -> Iterator[tuple[Arrays, Arrays]]:
    """`batches` as arrays."""
    yield from batches(split, batch).as_numpy_iterator()


def gathered(split: Split) -> tuple[Arrays, Arrays]:
    """All inputs and all targets of a prepared split."""
    return tuple(stacked(part) for part in zip(*arrays(split, 64), strict=True))


def sample(split: Split, strata: np.ndarray, count: int) -> tuple[Arrays, Arrays]:
    """Inputs and targets of up to `count` records of a prepared split, evenly by the values of `strata` (n,)."""
    return gathered(split.take(stratified(strata, count)))


def stacked(parts) -> Arrays:
    """Batches of named arrays as one."""
    parts = list(parts)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _records(split: Split, places: tf.data.Dataset, batch: int, seed: int | None = None) -> tf.data.Dataset:
    """Batches of places, and of the positions in a training by which they are sampled -> those of (inputs, targets)."""
    held = {name: column.tensor for name, column in split.columns.items() if column.whole is not None}
    rest = {name: column for name, column in split.columns.items() if name not in held}

    def halves(record: dict) -> tuple[dict, dict]:
        return {name: record[name] for name in split.inputs}, {name: record[name] for name in split.targets}

    if not rest:
        return places.map(
            lambda i, position: halves({name: tf.gather(tensor, i) for name, tensor in held.items()}), tf.data.AUTOTUNE
        ).prefetch(2)

    def one(i, position):
        record = {name: tensor[i] for name, tensor in held.items()}
        for name, column in rest.items():
            sampled = seed is not None and column.sample is not None
            record[name] = column.sample(i, tf.stack([seed, position])) if sampled else column.read(i)
        return halves(record)

    return places.unbatch().map(one, tf.data.AUTOTUNE).batch(batch).prefetch(2)
