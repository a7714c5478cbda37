"""TFLite files, by whichever interpreter is there; the file's own quantization is undone here."""

from __future__ import annotations

import struct
import zipfile
from collections import Counter
from importlib import import_module
from pathlib import Path

import numpy as np

from cnn_app.errors import ArtifactError, first_line
from cnn_app.quiet import native_silence
from cnn_app.runtimes import about as facts
from cnn_app.runtimes import in_batches
from cnn_app.runtimes.operators import INSTEAD
from cnn_app.tensors import Arrays, Spec

INTERPRETERS = ("tflite_runtime.interpreter", "ai_edge_litert.interpreter", "tensorflow.lite")  # the smallest first


class TFLiteRuntime:
    """A file of batch 1. Tensors have the names of its signature, where it has one."""

    def __init__(self, interpreter, path: Path = Path("memory"), about: facts.About | None = None):
        self.interpreter, self.path, self.about = interpreter, path, about
        interpreter.allocate_tensors()
        taken, given = _named(interpreter)
        self.details = taken, given
        self.inputs = {name: _spec(tensor) for name, tensor in taken.items()}
        self.outputs = {name: _spec(tensor, dequantized_type=True) for name, tensor in given.items()}

    def run(self, arrays: Arrays) -> Arrays:
        return in_batches(self.run_one, arrays, 1)

    def run_one(self, record: Arrays) -> Arrays:
        """One record, with a batch axis of one."""
        taken, given = self.details
        try:
            for name, tensor in taken.items():
                self.interpreter.set_tensor(tensor["index"], quantized(record[name], tensor))
            self.interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise ArtifactError(f"cannot run {self.path}: {first_line(error)}") from error
        return {name: dequantized(self.interpreter.get_tensor(tensor["index"]), tensor)
                for name, tensor in given.items()}  # fmt: skip

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


def open_model(path: Path, threads: int | None = None, *, trust: bool = True) -> TFLiteRuntime:
    if not trust:
        check(path)
    try:
        with native_silence():
            return TFLiteRuntime(interpreter_class()(model_path=str(path), num_threads=threads), path, about_of(path))
    except (ValueError, RuntimeError) as error:
        raise ArtifactError(f"cannot load {path}: {first_line(error)}") from error


def check(path: Path) -> None:
    """Refuse TensorFlow's own operators, which reach files; only TensorFlow's interpreter has them."""
    if not interpreter_class().__module__.startswith("tensorflow."):
        return
    from tensorflow.lite.python import schema_py_generated as schema

    try:
        model = schema.Model.GetRootAs(path.read_bytes())
        codes = [model.OperatorCodes(place).CustomCode() or b"" for place in range(model.OperatorCodesLength())]
    except (struct.error, IndexError, TypeError, ValueError) as error:
        raise ArtifactError(f"cannot load {path}: {str(error)[:200]}; copy it again") from error
    if flex := next((code for code in codes if code.startswith(b"Flex")), None):
        raise ArtifactError(f"{path} has the operator {flex.decode(errors='replace')}, which is TensorFlow's and may "
                            f"reach beyond the model; {INSTEAD}")  # fmt: skip


def about_of(path: Path) -> facts.About | None:
    """What the files behind the flatbuffer say; labels alone do not say what the input is."""
    try:
        with zipfile.ZipFile(path) as archive:
            if facts.FILE not in archive.namelist() or archive.getinfo(facts.FILE).file_size > facts.MAX_BYTES:
                return None
            return facts.of_json(archive.read(facts.FILE), path)
    except zipfile.BadZipFile:  # nothing lies behind it
        return None


def interpreter_class():
    """The Interpreter of the first package that is there."""
    for name in INTERPRETERS:
        try:
            return import_module(name).Interpreter
        except ImportError:
            continue
    raise ArtifactError("no TFLite interpreter is installed; pip install ai-edge-litert")


def quantized(values: np.ndarray, details: dict) -> np.ndarray:
    """Values as the tensor's own type wants them; those that have it already are taken as they are, such as pixels."""
    scale, zero = details["quantization"]
    if not scale or values.dtype == details["dtype"]:
        return values.astype(details["dtype"])
    limits = np.iinfo(details["dtype"])
    return np.clip(np.round(values / scale + zero), limits.min, limits.max).astype(details["dtype"])


def dequantized(values: np.ndarray, details: dict) -> np.ndarray:
    """Numbers that stand for others as float32; plain integers as they are."""
    scale, zero = details["quantization"]
    return (values.astype(np.float32) - zero) * np.float32(scale) if scale else values


def _named(interpreter) -> tuple[dict[str, dict], dict[str, dict]]:
    """Details of inputs and outputs by name."""
    taken = {tensor["index"]: tensor for tensor in interpreter.get_input_details()}
    given = {tensor["index"]: tensor for tensor in interpreter.get_output_details()}
    signatures = interpreter._get_full_signature_list()  # the public one has names without places
    signature = next(iter(signatures.values()), {"inputs": {}, "outputs": {}})
    named = [{name: details[place] for name, place in signature[kind].items() if place in details}
             for kind, details in (("inputs", taken), ("outputs", given))]  # fmt: skip
    if len(named[0]) == len(taken) and len(named[1]) == len(given):
        return named[0], named[1]
    return {tensor["name"]: tensor for tensor in taken.values()}, {tensor["name"]: tensor for tensor in given.values()}


def _spec(tensor: dict, dequantized_type: bool = False) -> Spec:
    kind = np.dtype(tensor["dtype"]).name
    if dequantized_type and tensor["quantization"][0]:
        kind = "float32"
    return Spec(kind, (None, *(int(side) for side in tensor["shape"][1:])))
