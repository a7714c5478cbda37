"""What answers: a SavedModel in a TensorFlow session, as in TF Serving, or a .tflite or .onnx file in its runtime."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from cnn_app import runtimes, tasks
from cnn_app.artifacts import model_dir_of
from cnn_app.errors import ArtifactError
from cnn_app.names import DEFAULT
from cnn_app.runtimes import operators
from cnn_app.serving.server.discovery import the_file
from cnn_app.serving.server.signatures import Signature
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    from cnn_app.tensors import Arrays


class Engine(Protocol):
    """Its `run` may be called by several threads."""

    kind: str
    signatures: dict[str, Signature]

    @property
    def task(self) -> tasks.Task | None: ...  # None where nothing tells

    def run(self, signature: str, inputs: Arrays) -> Arrays: ...

    def close(self) -> None: ...


class SavedModelEngine:
    """Loaded as TF Serving loads it, so that what works here works there; every signature as it was exported."""

    kind = "TensorFlow"
    task: tasks.Task | None = None

    def __init__(self, path: Path, threads: int = 0):
        import tensorflow as tf

        graph = tf.Graph()
        alone = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=-1)
        self.session = tf.compat.v1.Session(graph=graph, config=alone if threads == 1 else None)
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

    task: tasks.Task | None = None

    def __init__(self, runtime: runtimes.Runtime):
        self.kind = {".tflite": "LiteRT", ".onnx": "ONNX Runtime"}[runtime.path.suffix]
        self.runtime, self.lock = runtime, threading.Lock()  # an interpreter has one set of tensors
        self.signatures = {DEFAULT: Signature(DEFAULT, self.runtime.inputs, self.runtime.outputs)}

    def run(self, signature: str, inputs: Arrays) -> Arrays:
        with self.lock:
            return self.runtime.run(inputs)

    def close(self) -> None:
        """Nothing is held beyond the object."""


class EncodedEngine:
    """Another engine with a signature for encoded records beside what it has: decoded as in training, and named."""

    def __init__(self, engine: Engine, runtime: runtimes.Runtime, task: tasks.Task):
        self.engine, self.kind, self.runtime, self.task = engine, engine.kind, runtime, task
        self.name, self.decode = task.input.encoded, task.input.decoder()
        given = Signature(self.name, {self.name: Spec("string", (None,))}, task.named_specs(runtime.outputs))
        self.signatures = engine.signatures | {self.name: given}

    def run(self, signature: str, inputs: Arrays) -> Arrays:
        if signature != self.name:
            return self.engine.run(signature, inputs)
        records = [self.decode(data) for data in inputs[self.name]]
        found = self.runtime.run({name: np.stack([one[name] for one in records]) for name in records[0]})
        return self.task.named(self.task.placed(found, inputs[self.name]))

    def close(self) -> None:
        self.engine.close()


class DefaultSignature:
    """An engine's default signature, as a runtime."""

    def __init__(self, engine: Engine, path: Path, about: runtimes.About | None):
        self.engine, self.path, self.about = engine, path, about
        self.inputs, self.outputs = engine.signatures[DEFAULT].inputs, engine.signatures[DEFAULT].outputs

    def run(self, arrays: Arrays) -> Arrays:
        return self.engine.run(DEFAULT, arrays)


def open_engine(path: Path, trust: bool = False, threads: int = 0) -> Engine:
    """The engine for a version: a SavedModel directory, a file, or a directory with one file in it.

    threads: 1 for a SavedModel that runs in the thread that asks, 0 for one that takes all cores.

    Raises ArtifactError for what was exported of another model than the one that its directory has now, and unless
    `trust`, for a SavedModel whose operators touch the system.
    """
    engine: SavedModelEngine | RuntimeEngine
    if (path / "saved_model.pb").is_file():
        place, about = path, runtimes.about_of(path)
        _check_fresh(place, about)
        if not trust:
            operators.check_saved_model(place)
        engine = SavedModelEngine(place, threads)
    else:
        runtime = runtimes.open_model(the_file(path))
        place, about = runtime.path, runtime.about
        _check_fresh(place, about)
        engine = RuntimeEngine(_known(runtime)[0])
    if DEFAULT not in engine.signatures:
        return engine
    default, engine.task = _known(DefaultSignature(engine, place, about))
    if engine.task is None or engine.task.input.encoded in engine.signatures:
        return engine
    return EncodedEngine(engine, default, engine.task)


def _known(runtime: runtimes.Runtime) -> tuple[runtimes.Runtime, tasks.Task | None]:
    """A runtime by its task's names; one of no task that we know answers arrays as it stands."""
    try:
        return tasks.opened(runtime)
    except ArtifactError:
        return runtime, None


def _check_fresh(path: Path, about: runtimes.About | None) -> None:
    directory = model_dir_of(path)
    if about and directory and directory.is_stale(about.model_sha256):
        raise ArtifactError(f"{path} is stale: {directory.model} was replaced since; export it again")


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
