"""`.keras` files and model directories."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import keras
import numpy as np

import cnn_app.layers  # noqa: F401  registers the layers that our files name
from cnn_app.artifacts import replacing
from cnn_app.errors import ArtifactError
from cnn_app.tasks.classification import MAIN

MAX_UNPACKED_BYTES = 16 * 2**30
BATCH = 64


class KerasRuntime:
    """A model that returns logits of shape (N, classes)."""

    def __init__(self, model: keras.Model):
        self.model, self.image = inference(model), tuple(model.input_shape[1:])

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        logits = [np.asarray(self.model.predict_on_batch(pixels[i : i + BATCH])) for i in range(0, len(pixels), BATCH)]
        return keras.ops.convert_to_numpy(keras.ops.softmax(np.concatenate(logits)))


def inference(model: keras.Model) -> keras.Model:
    """`model` without the auxiliary classifiers that only help while training."""
    return keras.Model(model.input, model.output[MAIN], name=model.name) if isinstance(model.output, dict) else model


def open_model(path: Path, threads: int | None = None) -> KerasRuntime:
    return KerasRuntime(load(path))


def save(model: keras.Model, path: Path) -> None:
    """Write a `.keras` file without the optimizer, which is twice the network."""
    with replacing(path) as scratch:
        keras.Model(model.input, model.output, name=model.name).save(scratch)


def load(path: str | os.PathLike[str]) -> keras.Model:
    """The model in a `.keras` file or a model directory. Files that carry code are refused."""
    path = Path(path)
    file = path / "model.keras" if path.is_dir() else path
    if not file.is_file():
        raise ArtifactError(f"no model at {path}: a .keras file or a model directory is needed")
    try:
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > MAX_UNPACKED_BYTES:
            raise ArtifactError(
                f"{file} unpacks to {unpacked / 2**30:.0f} GiB; more than {MAX_UNPACKED_BYTES >> 30} are refused"
            )
        return keras.saving.load_model(file, compile=False, safe_mode=True)
    except zipfile.BadZipFile as error:
        raise ArtifactError(f"{file} is no .keras file, or it is cut off; copy it again or train anew") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        unsafe = "unsafe" in str(error) or "lambda" in str(error).lower()
        reason = "it holds code, which is never run from a file" if unsafe else str(error).strip().split("\n")[0][:200]
        raise ArtifactError(f"cannot load {file}: {reason}") from error
