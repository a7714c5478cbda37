"""What is in a folder of images with labels, or in a named source, before anything is trained on it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_app.data import is_named, packs
from cnn_app.data.dataset import Split
from cnn_app.data.division import TABLE
from cnn_app.data.folder import split_folders
from cnn_app.errors import DataError
from cnn_app.inputs import conversion, headers, pixels
from cnn_app.inputs.files import MAX_BYTES, SUFFIXES
from cnn_app.inputs.image import Image
from cnn_app.inputs.image_files import class_files
from cnn_app.recipe import Data
from cnn_app.tasks import label_tables as tables
from cnn_app.tasks.classification import TARGET, Classification
from cnn_app.tasks.multilabel import TARGET as TARGETS
from cnn_app.tasks.multilabel import Multilabel

FEW = 10  # records of a class, below which its recall is not worth much
INPUT = Image((32, 32, 3))  # files are the same whatever size is made of them
SEVERAL = ("shapes:many",)  # named sources with any number of labels for an image

Entry = tuple[str, tuple[str, ...], Path | None]  # split, classes or labels, and where the image lies, if in a file


@dataclass(frozen=True)
class Finding:
    """counts: class or label -> split -> images. Groups are of files with equal bytes."""

    counts: dict[str, dict[str, int]]
    unreadable: dict[str, str]  # path -> reason
    duplicates: list[list[str]]  # groups that lie in more than one split
    conflicts: list[list[str]]  # in more than one class, or with different labels
    repeated: list[list[str]]  # all in one class of one split
    left_out: dict[str, int]  # files that are not looked at, or listed, by the ends of their names
    sizes: dict[str, int]  # of the images in pixels: smallest and largest side, median width and height
    formats: dict[str, int]
    refusal: str | None  # why nothing can be trained on this folder, readable images or not
    division: dict  # what made the splits, as a card says it
    unlabelled: int | None  # images without a label; None where each has one class

    @property
    def sound(self) -> bool:
        return not (self.unreadable or self.duplicates or self.conflicts or self.refusal)

    @property
    def absent(self) -> dict[str, list[str]]:
        """Split -> the classes that it has no image of; of splits that there are."""
        there = dict.fromkeys(split for count in self.counts.values() for split in count)
        found = {split: [label for label, count in self.counts.items() if not count.get(split)] for split in there}
        return {split: labels for split, labels in found.items() if labels}

    @property
    def tested(self) -> str:
        """The split that figures are of."""
        return self.division.get("test", "test")

    @property
    def few(self) -> dict[str, int]:
        """Classes of which that split has few records, the fewest first."""
        counts = {label: count.get(self.tested, 0) for label, count in self.counts.items()}
        return dict(sorted(((label, n) for label, n in counts.items() if 0 < n < FEW), key=lambda pair: pair[1]))


def check(data: Data, progress=lambda what, done, total: None) -> Finding:
    """Count what a source has, and open every image of a folder: of class folders, or those that labels.csv lists."""
    packed = packs.is_one(data.source)
    several = packs.opened(data.source).task == Multilabel.name if packed else (
        data.source in SEVERAL or (not is_named(data.source) and tables.there(Path(data.source))))  # fmt: skip
    entries, refusal, division = (_listed if several else _entries)(data)
    counts: dict[str, Counter] = defaultdict(Counter)
    for split, labels, _ in entries:
        for label in labels:
            counts[label][split] += 1
    paths = sorted({path for _, _, path in entries if path is not None})
    unreadable, digests, sizes, formats = packs.damaged(data.source, progress) if packed else {}, {}, [], Counter()
    with ThreadPoolExecutor() as pool:
        for done, (path, looked) in enumerate(zip(paths, pool.map(_look, paths), strict=True), start=1):
            reason, digests[path], size, kind = looked
            if reason:
                unreadable[str(path)] = reason
            else:
                sizes.append(size)
                formats[kind] += 1
            progress("reading", done, len(paths))
    table = {label: dict(counts[label]) for label in sorted(counts)}
    left_out = {} if is_named(data.source) else _left_out(Path(data.source), set(paths) if several else None)
    unlabelled = sum(not labels for _, labels, _ in entries) if several else None
    return Finding(table, unreadable, *_equal(entries, digests), left_out, _sides(sizes), dict(formats), refusal,
                   division, unlabelled)  # fmt: skip


def _listed(data: Data) -> tuple[list[Entry], str | None, dict]:
    """Every image that a table lists; raises DataError where training would refuse it."""
    dataset = Multilabel(input=INPUT).load(data)
    entries = [
        (name, tuple(dataset.labels[i] for i in np.flatnonzero(row)), path)
        for name, split in dataset.distinct().items()
        for path, row in zip(_paths(split), split.targets[TARGETS].array, strict=True)
    ]
    return entries, None, dict(dataset.division)


def _entries(data: Data) -> tuple[list[Entry], str | None, dict]:
    """Every image as training divides them, or as they lie where it would refuse them."""
    root = Path(data.source)
    try:
        dataset = Classification(input=INPUT).load(data)
    except DataError as error:
        if isinstance(error.__cause__, OSError) or is_named(data.source):
            raise
        found = {name: class_files(folder) for name, folder in split_folders(root).items()}
        files: list[Entry] = [
            (name, (label,), path) for name, classes in found.items() for label in classes for path in classes[label]
        ]
        if not files:
            raise
        return files, str(error), {}
    entries = [
        (name, (dataset.labels[place],), path)
        for name, split in dataset.distinct().items()
        for path, place in zip(_paths(split), split.targets[TARGET].array, strict=True)
    ]
    return entries, None, dict(dataset.division)


def _paths(split: Split) -> list[Path | None]:
    files = split.inputs["image"].files
    return [None] * len(split) if files is None else list(map(Path, files))


def _equal(entries, digests: dict[Path, str]) -> tuple[list[list[str]], list[list[str]], list[list[str]]]:
    """Groups of files with equal bytes: in different splits, in different classes, and the others."""
    groups: dict[str, list[tuple[str, tuple[str, ...], str]]] = defaultdict(list)
    for split, labels, path in entries:
        if path is not None and digests.get(path):
            groups[digests[path]].append((split, labels, str(path)))
    duplicates, conflicts, repeated = [], [], []
    for group in groups.values():
        splits, labels, paths = map(list, zip(*group, strict=True))
        if len(set(splits)) > 1:
            duplicates.append(paths)
        if len(set(labels)) > 1:
            conflicts.append(paths)
        if len(group) > 1 and len(set(splits)) == len(set(labels)) == 1:
            repeated.append(paths)
    return duplicates, conflicts, repeated


def _left_out(place: Path, listed: set[Path] | None) -> dict[str, int]:
    """What is no image; of tables what they do not list."""
    root = place.parent if place.is_file() else place
    files = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
    suffixes = (
        path.suffix.lower() for path in files
        if path != root / TABLE and (path.suffix.lower() not in SUFFIXES if listed is None
                                     else path not in listed and path != place and path.name != tables.NAME)
    )  # fmt: skip
    return dict(sorted(Counter(suffixes).items()))


def _sides(sizes: list[tuple[int, int]]) -> dict[str, int]:
    if not sizes:
        return {}
    sides = np.array(sizes)
    width, height = np.median(sides, axis=0)
    return {"smallest": int(sides.min()), "largest": int(sides.max()), "width": int(width), "height": int(height)}


def _look(path: Path) -> tuple[str | None, str, tuple[int, int], str]:
    """(reason if unreadable, SHA-256, (width, height), format) of one file."""
    import tensorflow as tf

    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        kind, readable = conversion.kind_of(data), conversion.as_png(data)
        found = headers.read(readable)
        pixels.decode(tf.constant(readable))  # what training does, which is stricter than a header
        return None, hashlib.sha256(data).hexdigest(), (found.width, found.height), kind or found.format
    except OSError as error:
        reason = error.strerror
    except DataError as error:
        reason = str(error)
    except tf.errors.InvalidArgumentError:
        reason = "the image is damaged or cut off"
    return reason, "", (0, 0), ""
