"""Images in files: where they lie in folders, and what they hold as a column of records."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_app.errors import DataError
from cnn_app.inputs import conversion, files, headers

if TYPE_CHECKING:
    from cnn_app.data.dataset import Column

KINDS = ", ".join(files.SUFFIXES)


def column(paths: list[str]) -> Column:
    """The bytes of each file; those of formats that the graph does not decode are converted."""
    import tensorflow as tf

    from cnn_app.data.dataset import Column

    places = tf.constant(paths, tf.string)
    others = [os.path.splitext(record)[1].lower() in conversion.SUFFIXES for record in paths]
    any_others = any(others)

    def converted(name: bytes) -> bytes:
        return conversion.as_png(files.content(Path(os.fsdecode(name))))

    def read(place):
        if not any_others:
            return tf.io.read_file(places[place])
        return tf.cond(
            tf.constant(others)[place],
            lambda: tf.ensure_shape(tf.numpy_function(converted, [places[place]], tf.string), ()),
            lambda: tf.io.read_file(places[place]),
        )

    def fault(place: int) -> str:
        try:
            if others[place]:
                converted(os.fsencode(paths[place]))
        except DataError as error:
            return str(error)
        return ""

    return Column(read, lambda place: headers.file_problem(paths[place]), fault=fault, files=paths)


def class_files(folder: Path) -> dict[str, list[Path]]:
    """Class -> its images: a folder for each; files in folders below it count, too."""
    labels = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    return {label: image_files(folder / label) for label in labels}


def image_files(folder: Path) -> list[Path]:
    """All images under `folder`, sorted."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in files.SUFFIXES and path.is_file())
    for path in found:
        if str(path).encode(errors="replace") != os.fsencode(path):
            raise DataError(f"the name of {os.fsencode(path)!r} is not UTF-8; rename it")
    return found
