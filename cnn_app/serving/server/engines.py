"""What answers: a SavedModel in a TensorFlow session, as in TF Serving, or a .tflite or .onnx file in its runtime."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Protocol

import numpy as np

from cnn_app.errors import ArtifactError, ServingError
from cnn_app.serving.server.signatures import DEFAULT, IMAGES, Arrays, Signature, Spec

TOP = 5  # classes that are named for each image
FILES = (".onnx", ".tflite")


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
    """A file of ours, uint8 images in, behind the same names that an exported SavedModel has."""

    def __init__(self, path: Path):
        from cnn_app.runtimes import open_model

        self.kind = {".tflite": "LiteRT", ".onnx": "ONNX Runtime"}[path.suffix]
        self.runtime, self.lock = open_model(path), threading.Lock()  # a TFLite interpreter has one set of tensors
        classes = self.runtime.predict(np.zeros((1, *self.runtime.image), np.uint8)).shape[1]
        self.signatures = {
            DEFAULT: Signature(
                DEFAULT,
                {"image": Spec("uint8", (None, *self.runtime.image))},
                {"probabilities": Spec("float32", (None, classes))},
            )
        }

    def run(self, signature: str, inputs: Arrays) -> Arrays:
        with self.lock:
            return {"probabilities": self.runtime.predict(inputs["image"])}

    def close(self) -> None:
        """Nothing is held beyond the object."""


class ImageEngine:
    """Another engine with `image_bytes` beside what it has: decoded as in training, answered with labels."""

    def __init__(self, engine: Engine, image: tuple[int, int, int], labels: tuple[str, ...]):
        from cnn_app.data import images

        self.engine, self.kind, self.decode = engine, engine.kind, images.decoder(image)
        self.labels, self.top = np.array(labels, object), min(TOP, len(labels))
        named = {"classes": Spec("string", (None, self.top)), "scores": Spec("float32", (None, self.top))}
        outputs = engine.signatures[DEFAULT].outputs | (named if labels else {})
        given = Signature(IMAGES, {IMAGES: Spec("string", (None,))}, outputs)
        self.signatures = engine.signatures | {IMAGES: given}

    def run(self, signature: str, inputs: Arrays) -> Arrays:
        if signature != IMAGES:
            return self.engine.run(signature, inputs)
        outputs = self.engine.run(DEFAULT, {"image": np.stack([self.decode(data) for data in inputs[IMAGES]])})
        if not len(self.labels):
            return outputs
        best = np.argsort(-outputs["probabilities"], axis=1, kind="stable")[:, : self.top]
        scores = np.take_along_axis(outputs["probabilities"], best, 1)
        return outputs | {"classes": self.labels[best], "scores": scores}

    def close(self) -> None:
        self.engine.close()


def open_engine(path: Path) -> Engine:
    """The engine for a version: a SavedModel directory, a file, or a directory with one file in it."""
    if (path / "saved_model.pb").is_file():
        engine: Engine = SavedModelEngine(path)
    else:
        engine = RuntimeEngine(the_file(path))
    sizes = None if IMAGES in engine.signatures else image_sizes(engine)
    if sizes is None:
        return engine
    from cnn_app.runtimes import labels_of

    *image, classes = sizes
    return ImageEngine(engine, (image[0], image[1], image[2]), labels_of(path, classes))


def the_file(path: Path) -> Path:
    """`path`, or the one model file in it."""
    found = sorted(file for file in path.iterdir() if file.suffix in FILES) if path.is_dir() else [path]
    if len(found) == 1 and found[0].suffix in FILES:
        return found[0]
    names = ", ".join(file.name for file in found)
    raise ServingError(f"{path} holds {f'several models ({names}); give one of them' if found else 'no model'}")


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


def image_sizes(engine: Engine) -> tuple[int, ...] | None:
    """Height, width, channels and classes, where the default signature makes probabilities of uint8 images."""
    default = engine.signatures.get(DEFAULT)
    if default is None or set(default.inputs) != {"image"} or "probabilities" not in default.outputs:
        return None
    given, made = default.inputs["image"], default.outputs["probabilities"]
    sizes = tuple(side for side in (*(given.shape or ())[1:], *(made.shape or ())[1:]) if side)
    return sizes if given.dtype == "uint8" and len(sizes) == 4 and given.batched and made.batched else None
