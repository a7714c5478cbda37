"""SavedModel directories, through the signature that TF Serving calls."""

from __future__ import annotations

from pathlib import Path

from cnn_app.errors import ArtifactError, first_line
from cnn_app.names import DEFAULT as SIGNATURE
from cnn_app.names import FAMILIARITY
from cnn_app.runtimes import about as facts
from cnn_app.runtimes import in_batches, operators
from cnn_app.tensors import Arrays, Spec


class SavedModelRuntime:
    """Outputs of a fixed type and numbers alone: labels and the like are for clients."""

    def __init__(self, loaded, path: Path):
        self._keep = loaded  # its variables live as long as it does
        self.serve, self.path = loaded.signatures[SIGNATURE], path
        self.inputs = {name: _spec(tensor) for name, tensor in self.serve.structured_input_signature[1].items()}
        self.about = about_of(path)
        found = {name: _spec(tensor) for name, tensor in self.serve.structured_outputs.items()}
        self.outputs = {name: spec for name, spec in found.items() if name in _deployed(self.about, found)}
        there = FAMILIARITY in loaded.signatures and self.about is not None
        self.judge = self._judge if there else None  # of `runtimes.familiarity`

    def run(self, arrays: Arrays) -> Arrays:
        return in_batches(self._run, arrays)

    def _run(self, arrays: Arrays) -> Arrays:
        found = self._called(self.serve, arrays)
        return {name: found[name].numpy() for name in self.outputs}

    def _judge(self, arrays: Arrays) -> Arrays:
        found = self._called(self._keep.signatures[FAMILIARITY], arrays)
        return {name: tensor.numpy() for name, tensor in found.items()}

    def _called(self, signature, arrays: Arrays) -> dict:
        import tensorflow as tf

        try:
            return signature(**{name: tf.constant(array) for name, array in arrays.items()})
        except Exception as error:  # likewise
            raise ArtifactError(f"cannot run {self.path}: {first_line(error)}") from error


def open_model(path: Path, threads: int | None = None, *, trust: bool = True) -> SavedModelRuntime:
    """threads are TensorFlow's own and set for the whole process; see runtimes.latency."""
    import tensorflow as tf

    if not trust:
        operators.check_saved_model(path)
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # a damaged graph raises whatever TensorFlow did not think of
        raise ArtifactError(f"cannot load the SavedModel in {path}: {first_line(error)}") from error
    if SIGNATURE not in loaded.signatures:
        raise ArtifactError(f"the SavedModel in {path} has no {SIGNATURE} signature")
    return SavedModelRuntime(loaded, path)


def about_of(path: Path) -> facts.About | None:
    file = path / "assets" / facts.FILE
    if not file.is_file() or file.stat().st_size > facts.MAX_BYTES:
        return None
    return facts.of_json(file.read_bytes(), path)


def _deployed(about: facts.About | None, found: dict[str, Spec]) -> list[str]:
    """The outputs that every format has."""
    from cnn_app import heads

    if about is None:
        return list(found)
    return [name for name in found if name in heads.named(about.task).OUTPUTS]


def _spec(tensor) -> Spec:
    shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
    return Spec(tensor.dtype.name, shape)
