"""ONNX files, by ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

from cnn_app.errors import ArtifactError
from cnn_app.runtimes import about as facts
from cnn_app.runtimes import in_batches
from cnn_app.tensors import Arrays, Spec

DTYPES = {"float": "float32", "double": "float64"}  # ONNX's names for NumPy's types, where they differ


class OnnxRuntime:
    def __init__(self, session, path: Path):
        self.session, self.path = session, path
        self.inputs = {value.name: _spec(value) for value in session.get_inputs()}
        self.outputs = {value.name: _spec(value) for value in session.get_outputs()}
        self.about = facts.of_texts(session.get_modelmeta().custom_metadata_map, path)

    def run(self, arrays: Arrays) -> Arrays:
        names = list(self.outputs)
        return in_batches(lambda part: dict(zip(names, self.session.run(names, part), strict=True)), arrays)


def about_of(path: Path) -> facts.About | None:
    return open_model(path).about


def open_model(path: Path, threads: int | None = None) -> OnnxRuntime:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if threads:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no class of their own
        raise ArtifactError(f"cannot load {path}: {str(error).splitlines()[0][:200]}") from error
    return OnnxRuntime(session, path)


def _spec(value) -> Spec:
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    sides = tuple(side if isinstance(side, int) else None for side in value.shape)
    return Spec(DTYPES.get(kind, kind), (None, *sides[1:]))
