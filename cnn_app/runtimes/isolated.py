"""A `.tflite` or `.onnx` file in a child: one that was made to do harm may crash, fill or hang that, and nothing else.

Nothing in a file or beside it proves where it comes from, as whole directories are sent, too. So every such file runs
here unless the user says otherwise. Arrays travel as JSON that describes them and their bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np

from cnn_app.child import Child, ChildError
from cnn_app.errors import ArtifactError, CnnAppError
from cnn_app.runtimes import about as facts
from cnn_app.runtimes import in_batches, open_model
from cnn_app.tensors import Arrays, Spec

MEMORY_BYTES = 4 * 2**30
SECONDS = 60.0  # to open a file, and for each RECORDS
RECORDS = 8
LENGTH = struct.Struct("!I")  # of the description
SIDES = 64  # NumPy's arrays have no more
DAMAGED = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, struct.error)


class IsolatedRuntime:
    def __init__(self, path: Path):
        self.path = path
        self._child = Child(_answering, str(path), memory_bytes=MEMORY_BYTES)
        try:
            told = json.loads(self._ask(b""))
            self.inputs, self.outputs = _specs(told["inputs"]), _specs(told["outputs"])
            self.about = facts.of_json(told["about"], path) if told["about"] else None
        except DAMAGED as error:
            raise ArtifactError(f"what a child says of {path} is damaged: {error}") from error

    def run(self, arrays: Arrays) -> Arrays:
        return in_batches(lambda part: unpacked(self._ask(packed(part))), arrays, RECORDS)

    def _ask(self, request: bytes) -> bytes:
        return asked(self._child, self.path, request, SECONDS)


def asked(child: Child, path: Path, request: bytes, seconds: float) -> bytes:
    """The child's answer. What it tells itself names the path already."""
    try:
        return child.ask(request, seconds)
    except ChildError as error:
        raise ArtifactError(f"cannot run {path}: {error}; where you know who made it, --trust runs it without "
                            "limits") from error  # fmt: skip
    except CnnAppError as error:
        raise ArtifactError(str(error)) from error


def framed(about, *data: bytes) -> bytes:
    """JSON that describes what comes behind it."""
    return header(about) + b"".join(data)


def header(about) -> bytes:
    """What stands in front of framed data."""
    text = json.dumps(about).encode()
    return LENGTH.pack(len(text)) + text


def described(data: bytes):
    """What stands in front of `framed` data, and where these begin."""
    start = LENGTH.size + LENGTH.unpack_from(data)[0]
    return json.loads(data[LENGTH.size : start]), start


def packed(arrays: Arrays) -> bytes:
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    if texts := [name for name, array in arrays.items() if array.dtype.hasobject]:
        raise ArtifactError(f"{texts[0]} is of texts, and a child is sent numbers alone; --trust runs the file here")
    about = {name: [array.dtype.str, array.shape] for name, array in arrays.items()}
    return framed(about, *(array.tobytes() for array in arrays.values()))


def unpacked(data: bytes) -> Arrays:
    """The opposite, of bytes that anybody may have written; arrays are copies, which may be written to."""
    try:
        about, start = described(data)
        found = {}
        for name, (kind, shape) in about.items():
            dtype = np.dtype(str(kind))
            if dtype.hasobject or len(shape) > SIDES or not all(type(side) is int and side >= 0 for side in shape):
                raise ValueError(f"{kind} {shape} is no array of numbers")
            found[name] = np.frombuffer(data, dtype, prod(shape), start).reshape(shape).copy()
            start += found[name].nbytes
        return found
    except DAMAGED as error:
        raise ArtifactError(f"a child's answer is damaged: {error}") from error


def _answering(path: str) -> Callable[[bytes], bytes]:
    """The child's side: an empty request asks what the file is, any other has arrays."""
    runtime = open_model(path, trust=False)

    def told() -> bytes:
        specs = [{name: [spec.dtype, spec.shape] for name, spec in given.items()}
                 for given in (runtime.inputs, runtime.outputs)]  # fmt: skip
        about = runtime.about.json() if runtime.about else ""
        return json.dumps({"inputs": specs[0], "outputs": specs[1], "about": about}).encode()

    return lambda request: packed(runtime.run(unpacked(request))) if request else told()


def _specs(told: dict) -> dict[str, Spec]:
    return {str(name): Spec(str(dtype), None if shape is None else tuple(shape))
            for name, (dtype, shape) in told.items()}  # fmt: skip
