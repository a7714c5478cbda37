"""ONNX, opset 17: uint8 pixels (n, H, W, C) -> probabilities (n, classes)."""

from __future__ import annotations

import logging
from pathlib import Path

import keras
import numpy as np

from cnn_app.export import graph
from cnn_app.export.targets import Target

OPSET = 17


def write(model: keras.Model, path: Path, target: Target, calibration: np.ndarray | None) -> None:
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)  # it warns of every harmless rewrite
    serve = graph.endpoint(model, batch=None, dtype="uint8")
    proto, _ = tf2onnx.convert.from_function(serve, input_signature=serve.input_signature, opset=OPSET)
    path.write_bytes(proto.SerializeToString())
