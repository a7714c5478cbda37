"""A TF Serving version directory: uint8 pixels (n, H, W, C) -> probabilities (n, classes)."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from cnn_app.export import graph
from cnn_app.export.targets import Target


def write(model: keras.Model, path: Path, target: Target, calibration: np.ndarray | None) -> None:
    graph.save(model, path, batch=None, dtype="uint8")
