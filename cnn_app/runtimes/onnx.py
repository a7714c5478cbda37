"""ONNX files, by ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cnn_app.errors import ArtifactError, first_line
from cnn_app.runtimes import about as facts
from cnn_app.runtimes import in_batches
from cnn_app.runtimes.operators import INSTEAD
from cnn_app.tensors import Arrays, Spec

DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}  # of operators
DTYPES = {"float": "float32", "double": "float64"}  # ONNX's names for NumPy's types, where they differ


class OnnxRuntime:
    def __init__(self, session, path: Path):
        self.session, self.path = session, path
        self.inputs = {value.name: _spec(value) for value in session.get_inputs()}
        self.outputs = {value.name: _spec(value) for value in session.get_outputs()}
        self.about = facts.of_texts(session.get_modelmeta().custom_metadata_map, path)

    def run(self, arrays: Arrays) -> Arrays:
        return in_batches(self._run, arrays)

    def _run(self, arrays: Arrays) -> Arrays:
        names = list(self.outputs)
        try:
            return dict(zip(names, self.session.run(names, arrays), strict=True))
        except Exception as error:  # its exceptions share no class of their own
            raise ArtifactError(f"cannot run {self.path}: {first_line(error)}") from error


def about_of(path: Path) -> facts.About | None:
    return open_model(path).about


def open_model(path: Path, threads: int | None = None, *, trust: bool = True) -> OnnxRuntime:
    try:
        import onnxruntime
    except ImportError:
        raise ArtifactError(f"{path} is ONNX, which needs: pip install 'cnn-app[onnx]'") from None
    if not trust:
        check(path)

    options = onnxruntime.SessionOptions()
    if threads:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no class of their own
        raise ArtifactError(f"cannot load {path}: {first_line(error)}") from error
    return OnnxRuntime(session, path)


def check(path: Path) -> None:
    """Refuse operators that ONNX Runtime does not have itself, and tensors in files outside of the model's folder."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load_model(path, load_external_data=False)
    except DecodeError as error:
        raise ArtifactError(f"{path} is damaged: {error}; copy it again") from error
    own, folder = {(function.domain, function.name) for function in proto.functions}, path.resolve().parent
    for part in _parts(proto):
        if isinstance(part, onnx.NodeProto) and part.domain not in DOMAINS and (part.domain, part.op_type) not in own:
            raise ArtifactError(f"{path} has the operator {part.op_type} of {part.domain!r}, which is code beside the "
                                f"file; {INSTEAD}")  # fmt: skip
        for entry in part.external_data if isinstance(part, onnx.TensorProto) else ():
            if entry.key == "location" and not (folder / entry.value).resolve().is_relative_to(folder):
                raise ArtifactError(f"{path} has tensors in {entry.value!r}, which is outside of its folder; {INSTEAD}")


def _parts(proto) -> Iterator:
    """All messages inside, without end of nesting."""
    waiting = [proto]
    while waiting:
        part = waiting.pop()
        yield part
        for field, value in part.ListFields():
            if field.message_type is not None:
                waiting += [value] if hasattr(value, "ListFields") else value


def _spec(value) -> Spec:
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    sides = tuple(side if isinstance(side, int) else None for side in value.shape)
    return Spec(DTYPES.get(kind, kind), (None, *sides[1:]))
