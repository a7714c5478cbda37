"""A folder with a folder for each class, with or without train/, val/ and test/ above them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from cnn_app.data import images
from cnn_app.data.dataset import SPLITS, Dataset, Split, complete
from cnn_app.errors import DataError
from cnn_app.recipe import Data


def load(data: Data) -> Dataset:
    """The splits of the folder `data.source`; whether each image decodes is found out by `pipeline.prepare`."""
    root = Path(data.source)
    found = scan(root)
    classes = sorted({label for files in found.values() for label in files})
    for name, files in found.items():
        if empty := [label for label in files if not files[label]]:
            raise DataError(f"{root}: the class folder {empty[0]!r} has no images; add some ({_kinds()}) or remove it")
        if extra := sorted(set(files) - set(found["train"])):
            raise DataError(
                f"{root}: {name} has the class {extra[0]!r}, which train lacks; add it there or remove it here"
            )
    return complete(str(root), classes, {name: _split(root, files, classes) for name, files in found.items()})


def scan(root: Path) -> dict[str, dict[str, list[Path]]]:
    """split -> class -> its image files, sorted. Without split folders everything is `train`."""
    try:
        folders = {name: root / name for name in SPLITS if (root / name).is_dir()}
        if folders and "train" not in folders:
            raise DataError(
                f"{root} has {', '.join(folders)} but no train/; add it, or put the class folders directly in {root}"
            )
        found = {name: _classes(folder) for name, folder in (folders or {"train": root}).items()}
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror}") from error
    for name, files in found.items():
        if not files:
            where = folders.get(name, root)
            raise DataError(f"{where} is empty: it needs a folder for each class with images in it ({_kinds()})")
    return found


def header_problem(path: str) -> str | None:
    """Why the file at `path` is not to be decoded, from its header and its size; None if it may be."""
    try:
        with open(path, "rb") as stream:
            return images.problem(stream)
    except OSError as error:
        return error.strerror


def _classes(folder: Path) -> dict[str, list[Path]]:
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    return {name: _files(folder / name) for name in names}


def _files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in images.SUFFIXES and path.is_file())
    for path in files:
        if str(path).encode(errors="replace") != os.fsencode(path):
            raise DataError(f"the name of {os.fsencode(path)!r} is not UTF-8; rename it")
    return files


def _split(root: Path, files: dict[str, list[Path]], classes: list[str]) -> Split:
    import tensorflow as tf

    paths = [str(path) for label in files for path in files[label]]
    labels = [classes.index(label) for label in files for _ in files[label]]
    places = tf.constant(paths)
    names = [os.path.relpath(path, root).replace(os.sep, "/") for path in paths]
    return Split(
        names,
        np.array(labels, np.int64),
        lambda i: images.decode(tf.io.read_file(places[i])),
        lambda i: header_problem(paths[i]),
    )


def _kinds() -> str:
    return ", ".join(images.SUFFIXES)
