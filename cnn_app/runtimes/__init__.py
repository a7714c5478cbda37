"""Anything that answers: a model directory, `.keras`, SavedModel, `.tflite` or `.onnx`, behind one interface.

A runtime is a module here with `open_model(path, threads) -> Runtime`; FORMATS is the one place to add the next.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from cnn_app.artifacts import model_dir_of
from cnn_app.errors import ArtifactError

if TYPE_CHECKING:
    from cnn_app.data.dataset import Split

FORMATS = {".keras": "keras_model", ".tflite": "tflite", ".onnx": "onnx"}  # by suffix; directories by what they hold


class Runtime(Protocol):
    """image: (height, width, channels). predict: uint8 (n, *image) -> float32 probabilities (n, classes)."""

    image: tuple[int, int, int]

    def predict(self, pixels): ...


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


def open_model(path: str | os.PathLike[str], threads: int | None = None) -> Runtime:
    """Open an artifact. `threads`: how many a prediction may use, where the runtime can be told."""
    return import_module(f"cnn_app.runtimes.{kind_of(path)}").open_model(Path(path), threads)


def answers(runtime: Runtime, split: Split, batch: int = 64) -> np.ndarray:
    """The runtime's probabilities for all images of a prepared split, float32 (n, classes)."""
    from cnn_app.data import pipeline

    return np.concatenate([runtime.predict(images) for images in pipeline.arrays(split, batch)])


def labels_of(path: str | os.PathLike[str], classes: int) -> tuple[str, ...]:
    """The labels inside a SavedModel, or on the card beside an artifact; none where there are none that fit."""
    inside, directory = Path(path) / "assets" / "labels.txt", model_dir_of(path)
    if inside.is_file():
        labels = tuple(inside.read_text(encoding="utf-8").removesuffix("\n").split("\n"))
    else:
        labels = directory.read_card().labels if directory else ()
    return labels if len(labels) == classes else ()
