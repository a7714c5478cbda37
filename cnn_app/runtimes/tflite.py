"""TFLite files, by whichever interpreter is there; the file's own quantization is undone here."""

from __future__ import annotations

from collections import Counter
from importlib import import_module
from pathlib import Path

import numpy as np

from cnn_app.errors import ArtifactError
from cnn_app.quiet import native_silence

INTERPRETERS = ("tflite_runtime.interpreter", "ai_edge_litert.interpreter", "tensorflow.lite")  # the smallest first


class TFLiteRuntime:
    """A file of batch 1."""

    def __init__(self, interpreter):
        self.interpreter = interpreter
        interpreter.allocate_tensors()
        self.input, self.output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        self.image = tuple(int(side) for side in self.input["shape"][1:])

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        return np.concatenate([self.predict_one(image[None]) for image in pixels])

    def predict_one(self, image: np.ndarray) -> np.ndarray:
        """uint8 (1, *image) -> float32 (1, classes)."""
        self.interpreter.set_tensor(self.input["index"], quantized(image, self.input))
        self.interpreter.invoke()
        return dequantized(self.interpreter.get_tensor(self.output["index"]), self.output)

    def coverage(self) -> tuple[int, Counter]:
        """The number of delegates, and how many operators of each kind lie outside them."""
        operators = self.interpreter._get_ops_details()  # the only way to see the plan; tested against each interpreter
        delegates = [operator for operator in operators if operator["op_name"] == "DELEGATE"]
        plain = [operator for operator in operators if operator["op_name"] != "DELEGATE"]
        makers = {tensor: operator for operator in plain for tensor in operator["outputs"]}
        inside: set[int] = set()
        for delegate in delegates:
            known, open_tensors = set(delegate["inputs"]), list(delegate["outputs"])
            while open_tensors:
                tensor = open_tensors.pop()
                maker = makers.get(tensor)
                if tensor not in known and maker is not None and maker["index"] not in inside:
                    inside.add(maker["index"])
                    open_tensors += list(maker["inputs"])
        return len(delegates), Counter(operator["op_name"] for operator in plain if operator["index"] not in inside)


def open_model(path: Path, threads: int | None = None) -> TFLiteRuntime:
    try:
        with native_silence():
            return TFLiteRuntime(interpreter_class()(model_path=str(path), num_threads=threads))
    except (ValueError, RuntimeError) as error:
        raise ArtifactError(f"cannot load {path}: {str(error).splitlines()[0][:200]}") from error


def interpreter_class():
    """The Interpreter of the first package that is there."""
    for name in INTERPRETERS:
        try:
            return import_module(name).Interpreter
        except ImportError:
            continue
    raise ArtifactError("no TFLite interpreter is installed; pip install ai-edge-litert")


def quantized(pixels: np.ndarray, details: dict) -> np.ndarray:
    """Pixel values as the tensor's own type wants them."""
    scale, zero = details["quantization"]
    if details["dtype"] == np.float32:
        return pixels.astype(np.float32)
    if not scale or (scale, zero, details["dtype"]) == (1.0, 0, np.uint8):
        return pixels.astype(details["dtype"])
    limits = np.iinfo(details["dtype"])
    return np.clip(np.round(pixels / scale + zero), limits.min, limits.max).astype(details["dtype"])


def dequantized(values: np.ndarray, details: dict) -> np.ndarray:
    scale, zero = details["quantization"]
    return values.astype(np.float32) if not scale else (values.astype(np.float32) - zero) * np.float32(scale)
