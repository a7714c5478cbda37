"""What is in a folder of pictures, before anything is trained on it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_app.data import folder, pictures
from cnn_app.data.dataset import split_of


@dataclass(frozen=True)
class Finding:
    """counts: class -> split -> pictures. duplicates: groups of equal files that lie in more than one split."""

    counts: dict[str, dict[str, int]]
    unreadable: dict[str, str]  # path -> reason
    duplicates: list[list[str]]
    sizes: dict[str, int]  # of the pictures in pixels: smallest and largest side, median width and height
    formats: dict[str, int]

    @property
    def sound(self) -> bool:
        return not self.unreadable and not self.duplicates


def check(root: Path, progress=lambda what, done, total: None) -> Finding:
    """Open every picture under `root` (class folders, with or without train/ val/ test/)."""
    found = folder.scan(root)
    divided = set(found) != {"train"}
    files = [
        (split, label, path) for split, classes in found.items() for label, paths in classes.items() for path in paths
    ]
    counts: dict[str, Counter] = defaultdict(Counter)
    unreadable, by_digest, sizes, formats = {}, defaultdict(list), [], Counter()
    for classes in found.values():
        for label in classes:
            counts[label] += Counter()
    with ThreadPoolExecutor() as pool:
        for done, ((split, label, path), looked) in enumerate(zip(files, pool.map(_look, files), strict=True), start=1):
            split = split if divided else split_of(path.name)
            counts[label][split] += 1
            reason, digest, size, kind = looked
            if reason:
                unreadable[str(path)] = reason
            else:
                by_digest[digest].append((split, str(path)))
                sizes.append(size)
                formats[kind] += 1
            progress("reading", done, len(files))
    groups = [[path for _, path in group] for group in by_digest.values() if len({split for split, _ in group}) > 1]
    sides = np.array(sizes).reshape(-1, 2)
    summary = {}
    if len(sides):
        width, height = np.median(sides, axis=0)
        summary = {
            "smallest": int(sides.min()),
            "largest": int(sides.max()),
            "width": int(width),
            "height": int(height),
        }
    return Finding({label: dict(count) for label, count in counts.items()}, unreadable, groups, summary, dict(formats))


def _look(file) -> tuple[str | None, str, tuple[int, int], str]:
    """(reason if unreadable, SHA-256, (width, height), format) of one file."""
    import tensorflow as tf
    from PIL import Image

    path = file[2]
    if reason := folder.header_problem(str(path)):
        return reason, "", (0, 0), ""
    data = path.read_bytes()
    try:
        with Image.open(path, formats=pictures.FORMATS) as picture:
            size, kind = picture.size, picture.format
        pictures.decode(tf.constant(data))  # what training does, which is stricter than Pillow
        return None, hashlib.sha256(data).hexdigest(), size, kind
    except (OSError, tf.errors.InvalidArgumentError):
        return "the picture is damaged or cut off", "", (0, 0), ""
