"""Files that were read once and found sound, by their size and time: they are not looked at again before training.

What is remembered lies in the user's cache, a file for each source. It says nothing of what a file holds, so a file
that changes and keeps both size and time would be taken for the old one, as make and rsync take it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from cnn_app import __version__, systems
from cnn_app.atomic import write_text
from cnn_app.errors import ArtifactError

MAX_BYTES = 2**31  # of what is remembered
Stamp = list[int]  # size in bytes, time of the last change in ns


class Known:
    """What is remembered of the files of a source."""

    def __init__(self, source: str, decoder: str):
        """decoder: the version of what decided that they are sound."""
        place, self.version = os.path.abspath(source), f"{__version__} {decoder}"
        self.file = systems.cache() / "known" / f"{hashlib.sha256(os.fsencode(place)).hexdigest()[:32]}.json"
        self.stamps: dict[str, Stamp] = {}
        with suppress(OSError, ValueError, RecursionError, LookupError, TypeError):  # none, or damaged: none are known
            if self.file.stat().st_size <= MAX_BYTES:
                told = json.loads(self.file.read_bytes())
                self.stamps = dict(told["files"]) if told["version"] == self.version else {}

    def sound(self, files: Sequence[str], stamps: Sequence[Stamp | None]) -> np.ndarray:
        """Which of them are known as they are, (n,) bool."""
        pairs = zip(files, stamps, strict=True)
        return np.array([stamp is not None and self.stamps.get(_key(file)) == stamp for file, stamp in pairs], bool)

    def remember(self, files: Sequence[str], stamps: Sequence[Stamp | None]) -> None:
        """These, too; those that are there no more are forgotten. Where nothing can be written, nothing is."""
        new = {_key(file): stamp for file, stamp in zip(files, stamps, strict=True) if stamp is not None}
        self.stamps = {file: stamp for file, stamp in self.stamps.items() if file in new or os.path.exists(file)} | new
        with suppress(ArtifactError):
            write_text(self.file, json.dumps({"version": self.version, "files": self.stamps}))


def _key(file: str) -> str:
    return os.path.join(os.getcwd(), file)


def stamps(files: Sequence[str]) -> list[Stamp | None]:
    """None for what is not there."""
    return list(map(_stamp, files))


def _stamp(file: str) -> Stamp | None:
    try:
        told = os.stat(file)
    except OSError:
        return None
    return [told.st_size, told.st_mtime_ns]
