"""ONNX files, by ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cnn_app.errors import ArtifactError

BATCH = 64


class OnnxRuntime:
    def __init__(self, session):
        self.session = session
        self.image = tuple(session.get_inputs()[0].shape[1:])

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        name = self.session.get_inputs()[0].name
        parts = (self.session.run(None, {name: pixels[i : i + BATCH]})[0] for i in range(0, len(pixels), BATCH))
        return np.concatenate(list(parts))


def open_model(path: Path, threads: int | None = None) -> OnnxRuntime:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if threads:
        options.intra_op_num_threads = threads
    try:
        return OnnxRuntime(onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]))
    except Exception as error:  # its exceptions share no class of their own
        raise ArtifactError(f"cannot load {path}: {str(error).splitlines()[0][:200]}") from error
