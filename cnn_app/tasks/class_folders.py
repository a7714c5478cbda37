"""What is in a folder of classes with images in them, before anything is trained on it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_app.data.folder import split_folders
from cnn_app.errors import DataError
from cnn_app.inputs import headers, pixels
from cnn_app.inputs.image import Image, class_files
from cnn_app.recipe import Data
from cnn_app.tasks.classification import TARGET, Classification

TASK = Classification(input=Image((32, 32, 3)))  # files are the same whatever size is made of them


@dataclass(frozen=True)
class Finding:
    """counts: class -> split -> images. duplicates: groups of equal files that lie in more than one split."""

    counts: dict[str, dict[str, int]]
    unreadable: dict[str, str]  # path -> reason
    duplicates: list[list[str]]
    sizes: dict[str, int]  # of the images in pixels: smallest and largest side, median width and height
    formats: dict[str, int]
    refusal: str | None  # why nothing can be trained on this folder, readable images or not

    @property
    def sound(self) -> bool:
        return not (self.unreadable or self.duplicates or self.refusal)


def check(root: Path, progress=lambda what, done, total: None) -> Finding:
    """Open every image under `root` (class folders, with or without train/ val/ test/)."""
    entries, refusal = _entries(root)
    counts: dict[str, Counter] = defaultdict(Counter)
    for split, label, _ in entries:
        counts[label][split] += 1
    paths = sorted({path for _, _, path in entries})
    unreadable, digests, sizes, formats = {}, {}, [], Counter()
    with ThreadPoolExecutor() as pool:
        for done, (path, looked) in enumerate(zip(paths, pool.map(_look, paths), strict=True), start=1):
            reason, digests[path], size, kind = looked
            if reason:
                unreadable[str(path)] = reason
            else:
                sizes.append(size)
                formats[kind] += 1
            progress("reading", done, len(paths))
    table = {label: dict(count) for label, count in counts.items()}
    return Finding(table, unreadable, _duplicates(entries, digests), _sides(sizes), dict(formats), refusal)


def _entries(root: Path) -> tuple[list[tuple[str, str, Path]], str | None]:
    """(split, class, path) of every image as training divides them, or as they lie where it would refuse them."""
    try:
        dataset = TASK.load(Data(source=str(root)))
    except DataError as error:
        if isinstance(error.__cause__, OSError):
            raise
        found = {name: class_files(folder) for name, folder in split_folders(root).items()}
        files = [(name, label, path) for name, classes in found.items() for label in classes for path in classes[label]]
        if not files:
            raise
        return files, str(error)
    return [
        (name, dataset.labels[place], root / image)
        for name, split in dataset.distinct().items()
        for image, place in zip(split.names, split.targets[TARGET].array, strict=True)
    ], None


def _duplicates(entries, digests: dict[Path, str]) -> list[list[str]]:
    """Files of equal content that lie in different splits."""
    groups = defaultdict(list)
    for split, _, path in entries:
        if digests[path]:
            groups[digests[path]].append((split, str(path)))
    return [[path for _, path in group] for group in groups.values() if len({split for split, _ in group}) > 1]


def _sides(sizes: list[tuple[int, int]]) -> dict[str, int]:
    if not sizes:
        return {}
    sides = np.array(sizes)
    width, height = np.median(sides, axis=0)
    return {"smallest": int(sides.min()), "largest": int(sides.max()), "width": int(width), "height": int(height)}


def _look(path: Path) -> tuple[str | None, str, tuple[int, int], str]:
    """(reason if unreadable, SHA-256, (width, height), format) of one file."""
    import tensorflow as tf

    if reason := headers.file_problem(str(path)):
        return reason, "", (0, 0), ""
    data = path.read_bytes()
    try:
        found = headers.read(data)
        pixels.decode(tf.constant(data))  # what training does, which is stricter than Pillow
        return None, hashlib.sha256(data).hexdigest(), (found.width, found.height), found.format
    except (DataError, tf.errors.InvalidArgumentError):
        return "the image is damaged or cut off", "", (0, 0), ""
