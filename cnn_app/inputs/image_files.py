"""Images in files: where they lie in folders, and what they hold as a column of records."""

from __future__ import annotations

import os
from collections.abc import Iterator
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
    found = sorted(_under(str(folder)), key=lambda place: place.split(os.sep))
    for place in found:
        if place.encode(errors="replace") != os.fsencode(place):
            raise DataError(f"the name of {os.fsencode(place)!r} is not UTF-8; rename it")
    return list(map(Path, found))


def _under(folder: str) -> Iterator[str]:
    """As `Path.rglob` in a quarter of its time; it does not follow links to folders either."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _under(entry.path)
            elif os.path.splitext(entry.name)[1].lower() in files.SUFFIXES and entry.is_file():
                yield entry.path
