"""All that the server knows of models and their data, on top of today's images and classifiers.

Stands in for `runtimes.open_model`, `tasks.of`, and `inputs.by_encoded`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from cnn_app.names import IMAGE_BYTES, TEXT, TOP
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    from cnn_app.tensors import Arrays


class Described(Protocol):
    """What a task is recognised by."""

    inputs: dict[str, Spec]
    outputs: dict[str, Spec]
    about: dict | None  # facts of the file


class Runtime(Described, Protocol):
    def run(self, arrays: Arrays) -> Arrays: ...


class Encoded(Protocol):
    """A kind of encoded records, whatever the model."""

    def problem(self, data: bytes, pixels: int) -> str | None:
        """Why `data` should not be decoded, told from its header; None if nothing speaks against it."""

    def example(self) -> bytes:
        """A small one."""
        ...


class Input(Protocol):
    @property
    def encoded(self) -> str | None:
        """The signature, and its one input, that take encoded records."""

    def decoder(self) -> Callable[[bytes], Arrays]:
        """Of one record, without a batch axis. May be called in threads; raises DataError."""
        ...


class Task(Protocol):
    @property
    def input(self) -> Input: ...

    def named(self, outputs: Arrays) -> Arrays:
        """More outputs, for people to read."""
        ...

    def named_specs(self, outputs: dict[str, Spec]) -> dict[str, Spec]: ...


class _ImageClassifier:
    def __init__(self, runtime, about: dict | None):
        classes = runtime.predict(np.zeros((1, *runtime.image), np.uint8)).shape[1]
        self.runtime, self.about = runtime, about
        self.inputs = {"image": Spec("uint8", (None, *runtime.image))}
        self.outputs = {"probabilities": Spec("float32", (None, classes))}

    def run(self, arrays: Arrays) -> Arrays:
        return {"probabilities": self.runtime.predict(arrays["image"])}


class _EncodedImages:
    def problem(self, data: bytes, pixels: int) -> str | None:
        from cnn_app.data import images

        with images.quiet_sizes():
            return images.problem(data, pixels)

    def example(self) -> bytes:
        from PIL import Image

        out = io.BytesIO()
        Image.new("RGB", (8, 8)).save(out, "PNG")
        return out.getvalue()


class _Texts:
    def problem(self, data: bytes, pixels: int) -> str | None:
        try:
            data.decode()
        except UnicodeDecodeError:
            return "it is no text in UTF-8"
        return None

    def example(self) -> bytes:
        return b"a"


@dataclass(frozen=True)
class _Image:
    shape: tuple[int, int, int]
    encoded: ClassVar[str] = IMAGE_BYTES

    def decoder(self) -> Callable[[bytes], Arrays]:
        from cnn_app.data import images

        decode = images.decoder(self.shape)
        return lambda data: {"image": decode(data)}


class _Classification:
    def __init__(self, shape: tuple[int, int, int], labels: tuple[str, ...]):
        self.input, self.labels, self.top = _Image(shape), np.array(labels, object), min(TOP, len(labels))

    def named(self, outputs: Arrays) -> Arrays:
        if not self.top:
            return {}
        best = np.argsort(-outputs["probabilities"], axis=1, kind="stable")[:, : self.top]
        return {"classes": self.labels[best], "scores": np.take_along_axis(outputs["probabilities"], best, 1)}

    def named_specs(self, outputs: dict[str, Spec]) -> dict[str, Spec]:
        sizes = (None, self.top)
        return {"classes": Spec("string", sizes), "scores": Spec("float32", sizes)} if self.top else {}


def open_model(path: Path) -> Runtime:
    from cnn_app import runtimes

    return _ImageClassifier(runtimes.open_model(path), facts(path))


def facts(path: Path) -> dict:
    """Where the labels of the model in a file or a SavedModel directory are found."""
    return {"path": path}


def task_of(model: Described) -> Task | None:
    """None where it is none that we know."""
    image, made = model.inputs.get("image"), model.outputs.get("probabilities")
    if len(model.inputs) != 1 or image is None or made is None or image.dtype != "uint8":
        return None
    sides = [side for spec in (image, made) for side in (spec.shape or ())[1:] if side]
    if len(sides) != 4 or not (image.batched and made.batched):
        return None
    *shape, classes = sides
    from cnn_app.runtimes import labels_of

    labels = labels_of(model.about["path"], classes) if model.about else ()
    return _Classification((shape[0], shape[1], shape[2]), labels)


_ENCODED: dict[str, Encoded] = {IMAGE_BYTES: _EncodedImages(), TEXT: _Texts()}


def by_encoded(signature: str) -> Encoded | None:
    """The kind of the records that a signature of this name takes."""
    return _ENCODED.get(signature)
