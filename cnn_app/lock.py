"""One writer at a time; the lock goes with its process, however that ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnn_app.errors import CnnAppError


@contextmanager
def locked(folder: Path, error: type[CnnAppError]) -> Iterator[None]:
    """Raises `error` where another process is at work in the folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise error(f"another process is at work in {folder}; try again when it has ended") from None
        yield
    finally:
        os.close(descriptor)
