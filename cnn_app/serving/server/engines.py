"""What answers: a SavedModel in a TensorFlow session, as in TF Serving, or a .tflite or .onnx file in its runtime."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from cnn_app import runtimes, tasks
from cnn_app.errors import ArtifactError
from cnn_app.names import DEFAULT
from cnn_app.serving.server.discovery import the_file
from cnn_app.serving.server.signatures import Signature
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    from cnn_app.tensors import Arrays


class Engine(Protocol):
    """Its `run` may be called by several threads."""

    kind: str
    signatures: dict[str, Signature]

    def run(self, signature: str, inputs: Arrays) -> Arrays: ...

    def close(self) -> None: ...


class SavedModelEngine:
    """Loaded as TF Serving loads it, so that what works here works there; every signature as it was exported."""

    kind = "TensorFlow"

    def __init__(self, path: Path):
        import tensorflow as tf

        graph = tf.Graph()
        self.session = tf.compat.v1.Session(graph=graph)
        try:
            with graph.as_default():
                meta = tf.compat.v1.saved_model.loader.load(self.session, ["serve"], str(path))
        except (OSError, ValueError, RuntimeError, KeyError, tf.errors.OpError) as error:
            self.session.close()
            raise ArtifactError(f"cannot load the SavedModel in {path}: {str(error).splitlines()[0][:200]}") from error
        found = {name: value for name, value in meta.signature_def.items() if not name.startswith("__")}
        self.signatures = {name: signature(name, found[name]) for name in sorted(found)}
        self._calls = {
            name: self.session.make_callable(_tensors(known.outputs), _tensors(known.inputs))
            for name, known in self.signatures.items()
        }

    def run(self, signature: str, inputs: Arrays) -> Arrays:
        known = self.signatures[signature]
        return dict(zip(known.outputs, self._calls[signature](*(inputs[name] for name in known.inputs)), strict=True))

    def close(self) -> None:
        self.session.close()


class RuntimeEngine:
    """A file, behind the same name that an exported SavedModel has."""

    def __init__(self, path: Path):
        self.kind = {".tflite": "LiteRT", ".onnx": "ONNX Runtime"}[path.suffix]
        self.runtime, self.lock = runtimes.open_model(path), threading.Lock()  # an interpreter has one set of tensors
        self.signatures = {DEFAULT: Signature(DEFAULT, self.runtime.inputs, self.runtime.outputs)}

    def run(self, signature: str, inputs: Arrays) -> Arrays:
        with self.lock:
            return self.runtime.run(inputs)

    def close(self) -> None:
        """Nothing is held beyond the object."""


class EncodedEngine:
    """Another engine with a signature for encoded records beside what it has: decoded as in training, and named."""

    def __init__(self, engine: Engine, task: tasks.Task, name: str):
        self.engine, self.kind, self.task, self.name = engine, engine.kind, task, name
        self.decode = task.input.decoder()
        made = engine.signatures[DEFAULT].outputs
        given = Signature(name, {name: Spec("string", (None,))}, task.named_specs(made))
        self.signatures = engine.signatures | {name: given}

    def run(self, signature: str, inputs: Arrays) -> Arrays:
        if signature != self.name:
            return self.engine.run(signature, inputs)
        records = [self.decode(data) for data in inputs[self.name]]
        outputs = self.engine.run(DEFAULT, {name: np.stack([one[name] for one in records]) for name in records[0]})
        return self.task.named(outputs)

    def close(self) -> None:
        self.engine.close()


@dataclass
class Described:
    """What a task is recognised by."""

    path: Path
    inputs: dict[str, Spec]
    outputs: dict[str, Spec]
    about: runtimes.About | None


def open_engine(path: Path) -> Engine:
    """The engine for a version: a SavedModel directory, a file, or a directory with one file in it."""
    saved = (path / "saved_model.pb").is_file()
    place = path if saved else the_file(path)
    engine: Engine = SavedModelEngine(place) if saved else RuntimeEngine(place)
    default = engine.signatures.get(DEFAULT)
    if default is None:
        return engine
    try:
        task = tasks.of(Described(place, default.inputs, default.outputs, runtimes.about_of(place)))
    except ArtifactError:  # none that we know: it answers arrays as it stands
        return engine
    name = task.input.encoded
    return engine if name in engine.signatures else EncodedEngine(engine, task, name)


def signature(name: str, definition) -> Signature:
    """From TensorFlow's SignatureDef."""
    inputs, outputs = (
        {key: _spec(infos[key]) for key in sorted(infos)} for infos in (definition.inputs, definition.outputs)
    )
    return Signature(name, inputs, outputs, definition.method_name)


def _spec(info) -> Spec:
    import tensorflow as tf

    shape = info.tensor_shape
    sides = None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
    return Spec(tf.dtypes.as_dtype(info.dtype).name, sides, info.name)


def _tensors(specs: dict[str, Spec]) -> list[str]:
    return [spec.tensor for spec in specs.values()]
