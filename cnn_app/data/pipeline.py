"""From a Split to batches: read, resize, keep in memory where it fits, shuffle, augment. tf.data from end to end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import psutil
import tensorflow as tf

from cnn_app.data import images
from cnn_app.data.augment import augmented, mixed
from cnn_app.data.dataset import Dataset, Split
from cnn_app.errors import DataError

MEMORY_SHARE = 0.25  # of the free memory that decoded images may take

Progress = Callable[[str, int, int], None]  # what is done, how much, of how much


def prepare(
    dataset: Dataset, image: tuple[int, int, int], *, skip_bad: bool = False, progress: Progress | None = None
) -> Dataset:
    """Bring every image to `image`, and find those that cannot be read: an error names them, or they are left out."""
    done: dict[int, Split] = {}
    bad: dict[int, list[str]] = {}
    for name, split in dataset.splits.items():
        if id(split) not in done:  # test may be val
            done[id(split)], bad[id(split)] = _prepare(
                split, image, lambda i, n, name=name: progress and progress(f"reading {name}", i, n)
            )
    skipped = [line for lines in bad.values() for line in lines]
    if skipped and not skip_bad:
        more = f" and {len(skipped) - 1} more" if len(skipped) > 1 else ""
        raise DataError(f"{dataset.source}: cannot read {skipped[0]}{more}; remove it, or use --on-bad-image skip")
    splits = {name: done[id(split)] for name, split in dataset.splits.items()}
    for name, split in splits.items():
        if len(split) == 0:
            first = bad[id(dataset.splits[name])][0]
            raise DataError(f"{dataset.source}: not one image of {name} can be read, such as {first}")
    for label, name in enumerate(dataset.classes):
        if label not in splits["train"].labels:
            raise DataError(f"{dataset.source}: not one image of the class {name!r} in train can be read")
    return replace(dataset, splits=splits, skipped=tuple(skipped))


def _prepare(split: Split, image: tuple[int, int, int], progress) -> tuple[Split, list[str]]:
    if split.array is not None and split.array.shape[1:] == image:
        return split, []
    read = split.read
    sized = replace(split, read=lambda i: images.to_size(read(i), image), problem=None, array=None)
    reasons = _header_problems(split)
    sound = np.setdiff1d(np.arange(len(split)), list(reasons))
    keep = len(split) * np.prod(image) <= MEMORY_SHARE * psutil.virtual_memory().available
    array = np.empty((len(split), *image), np.uint8) if keep else None
    records = tf.data.Dataset.from_tensor_slices(sound).map(lambda i: (i, sized.read(i)), tf.data.AUTOTUNE)
    good = np.zeros(len(split), bool)
    for count, (i, image) in enumerate(records.ignore_errors().prefetch(64).as_numpy_iterator(), start=1):
        good[i] = True
        if keep:
            array[i] = image
        if count % 64 == 0:
            progress(count, len(split))
    progress(len(split), len(split))
    bad = [f"{split.names[i]}: {reasons.get(i, 'the image is damaged or cut off')}" for i in np.flatnonzero(~good)]
    sized = replace(sized, array=array)
    return (sized.take(np.flatnonzero(good)) if bad else sized), bad


def _header_problems(split: Split) -> dict[int, str]:
    """index -> reason, of the images that are not safe to decode."""
    if split.problem is None:
        return {}
    with images.quiet_sizes(), ThreadPoolExecutor() as pool:
        return {i: reason for i, reason in enumerate(pool.map(split.problem, range(len(split)))) if reason}


def batches(split: Split, batch: int) -> tf.data.Dataset:
    """The prepared split in order: uint8 (b, H, W, C), int64 (b,); the last batch may be smaller."""
    return _pixels(split, tf.data.Dataset.range(len(split)).batch(batch), batch)


def training_batches(
    split: Split, batch: int, classes: int, *, seed: int, epoch: int, skip: int = 0, augment: tuple[str, ...] = ()
) -> tf.data.Dataset:
    """One shuffled epoch without its first `skip` batches: uint8 (b, H, W, C), one-hot float32 (b, classes).

    Order and augmentation are functions of (seed, epoch, batch), so that an interrupted run goes on where it stood.
    """
    steps = steps_per_epoch(split, batch)
    size = min(batch, len(split))
    order = np.random.default_rng([seed, epoch]).permutation(len(split))[: steps * size].reshape(steps, size)
    numbers = np.arange(epoch * steps, (epoch + 1) * steps)
    pairs = tf.data.Dataset.from_tensor_slices((order[skip:], numbers[skip:]))
    pixels = _pixels(split, pairs.map(lambda indices, number: indices), size)

    def finish(pair, labelled):
        images, labels = labelled
        return mixed(augmented(images, (seed, pair[1]), augment), tf.one_hot(labels, classes), (seed, pair[1]), augment)

    return tf.data.Dataset.zip(pairs, pixels).map(finish, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def steps_per_epoch(split: Split, batch: int) -> int:
    """Full batches in an epoch; a split smaller than a batch is one."""
    return max(1, len(split) // batch)


def stratified(split: Split, count: int, seed: int = 0) -> np.ndarray:
    """Indices of `count` images, the classes as evenly as they allow."""
    order = np.random.default_rng(seed).permutation(len(split))
    labels = split.labels[order]
    rank = np.zeros(len(split), int)  # the how-manieth of its class
    for label in np.unique(labels):
        rank[labels == label] = np.arange((labels == label).sum())
    return order[np.argsort(rank, kind="stable")[:count]]


def arrays(split: Split, batch: int) -> Iterator[np.ndarray]:
    """The pixels of `batches`, as arrays."""
    for pixels, _ in batches(split, batch).as_numpy_iterator():
        yield pixels


def _pixels(split: Split, indices: tf.data.Dataset, batch: int) -> tf.data.Dataset:
    """Batches of indices -> batches of (pixels, labels)."""
    labels = tf.constant(split.labels)
    if split.array is not None:
        array = split.tensor
        return indices.map(lambda i: (tf.gather(array, i), tf.gather(labels, i)), tf.data.AUTOTUNE).prefetch(2)
    return indices.unbatch().map(lambda i: (split.read(i), labels[i]), tf.data.AUTOTUNE).batch(batch).prefetch(2)
