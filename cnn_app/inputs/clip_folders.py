"""Clips where they lie: files, and folders of numbered images, which travel as a TAR of these."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from cnn_app.errors import DataError
from cnn_app.inputs import files
from cnn_app.inputs.clip_files import KINDS, STILLS, SUFFIXES, natural, opened
from cnn_app.inputs.files import MAX_BYTES, MAX_FRAMES

if TYPE_CHECKING:
    from cnn_app.data.dataset import Column


def content(path: Path) -> bytes:
    """The bytes of a file, or a TAR of the images in a folder."""
    if not path.is_dir():
        return files.content(path)
    images = stills(path)
    if len(images) > MAX_FRAMES:
        raise DataError(f"{path} has more than {MAX_FRAMES:,} frames")
    out, left = io.BytesIO(), MAX_BYTES
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for place, image in enumerate(images):
            data = files.content(image, max(left, 0))
            left -= len(data) + 1024
            member = tarfile.TarInfo(f"{place:05d}{image.suffix.lower()}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def stills(folder: Path) -> list[Path]:
    """The images that lie in a folder itself, frame by frame."""
    found = (entry for entry in folder.iterdir() if entry.suffix.lower() in STILLS and entry.name[0] != ".")
    return sorted((entry for entry in found if entry.is_file()), key=lambda entry: natural(entry.name))


def clips(folder: Path) -> list[Path]:
    """All clips under `folder`: files, and folders with images in them."""
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: natural(entry.name)):
        if entry.name[0] == ".":
            continue
        if entry.is_dir() and stills(entry):
            found.append(entry)
        elif entry.is_dir() and not entry.is_symlink():  # which may lead back
            found += clips(entry)
        elif entry.suffix.lower() in SUFFIXES:
            found.append(entry)
    return found


def by_class(folder: Path, root: Path) -> dict[str, tuple[list[str], list]]:
    """Class -> names and paths of its clips: a folder for each."""
    found = {}
    for label in sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."):
        paths = clips(folder / label)
        if not paths:
            raise DataError(f"{root}: the class folder {label!r} has no clips; add {KINDS}, or a folder of numbered "
                            "images for each clip")  # fmt: skip
        found[label] = ([files.relative(path, root) for path in paths], list(map(str, paths)))
    return found


def named(places: Iterable[str], stdin: BinaryIO) -> Iterator[tuple[str, bytes | DataError]]:
    """Files, folders of frames, all clips under other folders, and `-` for the bytes on `stdin`."""
    for place in places:
        path = Path(place)
        if place == "-":
            yield place, stdin.read(MAX_BYTES + 1)
            continue
        try:
            several = clips(path) if path.is_dir() and not stills(path) else [path]
        except OSError as error:
            raise DataError(f"cannot read {error.filename}: {error.strerror}") from error
        if not several:
            raise DataError(f"{place} has no clips in it ({', '.join(SUFFIXES)}, or folders of images)")
        for one in several:
            try:
                yield str(one), content(one)
            except DataError as error:
                yield str(one), error


def column(paths: list[str]) -> Column:
    """The bytes of each clip."""
    import tensorflow as tf

    from cnn_app.data.dataset import Column

    places = tf.constant(np.arange(len(paths)))

    def read(place):
        data = tf.numpy_function(lambda i: content(Path(paths[i])), [places[place]], tf.string)
        return tf.ensure_shape(data, ())

    def problem(place: int) -> str | None:
        try:
            opened(content(Path(paths[place])))
            return None
        except DataError as error:
            return str(error)

    def fault(place: int) -> str:
        try:
            reel = opened(content(Path(paths[place])))
            reel.read(range(reel.frames))
        except DataError as error:
            return str(error)
        return ""

    return Column(read, problem, fault=fault)
