"""Anything that answers: a model directory, `.keras`, SavedModel, `.tflite` or `.onnx`, behind one interface.

A runtime is a module here with `open_model(path, threads, trust) -> Runtime` and `about_of(path)`; without `trust` it
refuses what a file from elsewhere must not do. FORMATS is the one place to add the next.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np

from cnn_app.errors import ArtifactError
from cnn_app.runtimes.about import About
from cnn_app.tensors import Arrays, Spec

FORMATS = {".keras": "keras_model", ".tflite": "tflite", ".onnx": "onnx"}  # by suffix; directories by what they hold
ISOLATED = ("tflite", "onnx")  # what is parsed and run by native code
BATCH = 64


class Runtime(Protocol):
    """inputs, outputs: by name, with a free first axis. run: arrays for all inputs -> those of all outputs."""

    path: Path
    inputs: dict[str, Spec]
    outputs: dict[str, Spec]
    about: About | None  # None for a file that others made

    def run(self, arrays: Arrays) -> Arrays: ...


def kind_of(path: str | os.PathLike[str]) -> str:
    """The module here that opens `path`."""
    path = Path(path)
    if not path.exists():
        raise ArtifactError(f"no model at {path}; train writes one, export its other formats")
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "saved_model"
        if (path / "model.keras").is_file():
            return "keras_model"
        raise ArtifactError(
            f"{path} holds neither model.keras nor saved_model.pb; give a model directory or a serving version"
        )
    if path.suffix not in FORMATS:
        raise ArtifactError(f"{path} is no model file; known endings: {', '.join(FORMATS)}, or a directory")
    return FORMATS[path.suffix]


def open_model(path: str | os.PathLike[str], threads: int | None = None, *, trust: bool = True) -> Runtime:
    """Open an artifact in this process. `threads`: how many a prediction may use, where the runtime can be told.

    trust: it is ours; otherwise what it may do is looked at first.
    """
    return import_module(f"cnn_app.runtimes.{kind_of(path)}").open_model(Path(path), threads, trust=trust)


def open_foreign(path: str | os.PathLike[str], *, trust: bool = False) -> Runtime:
    """Open an artifact that may be from elsewhere: with limits, and in a child where native code parses it.

    trust: as ours.
    """
    if not trust and kind_of(path) in ISOLATED:
        return import_module("cnn_app.runtimes.isolated").IsolatedRuntime(Path(path))
    return open_model(path, trust=trust)


def about_of(path: str | os.PathLike[str]) -> About | None:
    """What an artifact says of itself; None for what others made."""
    return import_module(f"cnn_app.runtimes.{kind_of(path)}").about_of(Path(path))


def familiarity_of(runtime: Runtime, arrays: Arrays) -> Arrays:
    """`unlike`, `distance` and `threshold` of records, where a runtime knows its training data."""
    judge = getattr(runtime, "judge", None)
    return {} if judge is None else in_batches(judge, arrays)


def in_batches(run: Callable[[Arrays], Arrays], arrays: Arrays, size: int = BATCH) -> Arrays:
    """`run` on `size` records at a time."""
    count = len(next(iter(arrays.values())))
    parts = [run({name: array[start : start + size] for name, array in arrays.items()})
             for start in range(0, count, size)]  # fmt: skip
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
