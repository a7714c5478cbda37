"""One writer a folder: a lock that goes with its process, however that ends, and says whose it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from cnn_app.errors import CnnAppError

NAME = ".cnn-app.lock"  # in a folder that is being written; a writer that was killed leaves it, unlocked


@contextmanager
def locked(folder: Path, error: type[CnnAppError], *, again: bool = True) -> Iterator[None]:
    """Hold `folder`, which is made where it is not there; raises `error` where another process does.

    again: whether a thread may take what it holds. Raises OSError where nothing can be written.
    """
    place = folder.absolute() / NAME
    with made(folder):
        lock = FileLock(place, blocking=False, is_singleton=again, on_acquired=_sign)
        try:
            lock.acquire()
        except (Timeout, FileNotFoundError):  # the latter where the folder has just gone with its former writer
            raise error(
                f"another process{_holder(place)} is at work in {folder}; try again when it has ended"
            ) from None
        try:
            yield
        finally:
            if lock.lock_counter == 1:
                with suppress(OSError):  # Windows removes no file that is open
                    place.unlink()  # before the lock goes: whoever waits for this file sees that it has no name
            lock.release()


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Make `folder`; what is new and still empty in the end goes again."""
    created = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for place in created:  # the innermost first
            with suppress(OSError):
                place.rmdir()


def _sign(descriptor: int) -> None:
    """Say who holds the lock, behind a byte that Windows lets nobody else read."""
    program, words = Path(sys.argv[0]), sys.argv[1:3]
    name = program.parent.name if program.name == "__main__.py" else program.name
    told = " ".join(f"{os.getpid()}: {' '.join((name, *words))}".split())[:100]
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f" {told}".encode(errors="replace"))


def _holder(place: Path) -> str:
    """The process that has signed, in brackets; nothing where none has yet."""
    with suppress(OSError), place.open("rb", buffering=0) as file:
        file.seek(1)
        if told := file.read(200).decode(errors="replace"):
            return f" ({told})"
    return ""
