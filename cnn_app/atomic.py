"""Writes that a reader sees whole or not at all, however their process ends.

What is not whole yet lies in a hidden folder beside its place, which its maker holds locked: one that is free is of a
dead process, and goes with the next write there.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cnn_app import systems
from cnn_app.errors import ArtifactError, CnnAppError
from cnn_app.lock import locked, made

SCRATCH = ".cnn-app-"
REPLACED = ".replaced"  # in a scratch folder: the directory whose place is taken


class _Taken(CnnAppError):
    """Another process holds a scratch folder."""


@contextmanager
def one_writer(folder: Path, error: type[CnnAppError]) -> Iterator[None]:
    """Hold `folder` as `lock.locked` does, rid of what dead processes left there and in the folders in it."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder, error))
            for place in (folder, *filter(Path.is_dir, folder.iterdir())):
                sweep(place)
        except OSError as problem:
            where = problem.filename or folder
            raise error(f"cannot write {where}: {problem.strerror or problem}; choose another place") from problem
        yield


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A hidden folder in `folder`, which vanishes in the end; the next one here removes it if this process dies."""
    sweep(folder)
    place = None
    try:
        while True:
            place = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=folder))
            with suppress(_Taken), locked(place, _Taken, again=False):  # taken where a sweep came in between
                yield place
                return
    finally:
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove the scratch folders of dead processes."""
    for left in folder.glob(f"{SCRATCH}????????"):
        with suppress(_Taken, OSError), locked(left, _Taken, again=False):  # one that is another user's stays
            for old in left.glob(f"{REPLACED}/*"):  # its process was killed between the two renames of `replacing`
                if not (folder / old.name).exists():
                    old.rename(folder / old.name)
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A scratch path beside `path` that takes its place when the block ends well, and vanishes when it does not.

    The block may write a file or make a directory there.
    """
    path = Path(path)
    try:
        with made(path.parent), scratch(path.parent) as place:
            inner, old = place / path.name, place / REPLACED / path.name
            yield inner
            flush(inner)
            try:
                if inner.is_dir() and path.is_dir():
                    old.parent.mkdir()
                    path.rename(old)
                os.replace(inner, path)
            except BaseException:
                if old.is_dir() and not path.exists():
                    old.rename(path)
                raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise ArtifactError(f"cannot write {path}: {reason}; free some space or choose another place") from error


def check_place(path: Path) -> None:
    """Raise ArtifactError where the file at `path` could not be written."""
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = "cannot be written" if there.is_dir() else "is no folder"
        raise ArtifactError(f"cannot write {path.parent}: {there} {what}; choose another place")


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    with replacing(path) as place:
        place.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    write_bytes(path, text.encode())


def holds(path: str | os.PathLike[str], value) -> bool:
    """Whether what `write_json` would write of `value` is what lies there."""
    try:
        return json.loads(Path(path).read_bytes()) == json.loads(json.dumps(value))
    except (OSError, ValueError):
        return False


def write_csv(path: str | os.PathLike[str], rows: list[dict]) -> None:
    """A line for each row, under the keys of all of them in the order that they come in."""
    text = io.StringIO()
    writer = csv.DictWriter(text, dict.fromkeys(name for row in rows for name in row), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_json(path: str | os.PathLike[str], value) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def flush(path: Path) -> None:
    """Bring a file, or all in a directory, to the disk before a rename is, or a crash leaves empty files."""
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file():
            systems.flush(file)
