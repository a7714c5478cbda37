"""A folder of data, with or without train/, val/ and test/ in it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from cnn_app.data.dataset import SPLITS
from cnn_app.errors import DataError


def split_folders(root: Path) -> dict[str, Path]:
    """split -> its folder. Without split folders everything is `train`."""
    if not root.is_dir():
        raise DataError(f"no data at {str(root)!r}; give digits, shapes, tfds:NAME or a folder")
    folders = {name: root / name for name in SPLITS if (root / name).is_dir()}
    if folders and "train" not in folders:
        raise DataError(f"{root} has {', '.join(folders)} but no train/; add it, or put everything directly in {root}")
    return folders or {"train": root}


def merged(parts: Iterable[dict[str, tuple[list[str], list]]]) -> dict[str, tuple[list[str], list]]:
    """Names and records of each class, of several splits as one."""
    whole: dict[str, tuple[list[str], list]] = {}
    for label, (names, records) in chain.from_iterable(part.items() for part in parts):
        before = whole.get(label, ([], []))
        whole[label] = before[0] + names, before[1] + records
    return whole


def inside(where: str, name: str) -> str:
    """A path that stays in the folder of its table, in its shortest form."""
    short = posixpath.normpath(name) if name else ""
    if not short or short.startswith(("/", "..")) or not short.isprintable() or ":" in short[:2]:
        raise DataError(f"{where} names the file {name[:200]!r}; a path inside the folder of the table is needed")
    return short
