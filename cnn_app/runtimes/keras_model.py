"""`.keras` files and model directories."""

from __future__ import annotations

import json
import math
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np

import cnn_app.layers  # noqa: F401  registers the layers that our files name
from cnn_app import heads
from cnn_app.artifacts import Card, ModelDir
from cnn_app.atomic import replacing
from cnn_app.errors import ArtifactError, CnnAppError, first_line
from cnn_app.runtimes import about as facts
from cnn_app.runtimes import familiarity, in_batches, keras_archive
from cnn_app.runtimes.about import About
from cnn_app.tensors import Arrays, Spec

METADATA, KEY = "metadata.json", "cnn_app"  # in a `.keras` file, and in that
ELSEWHERE = re.compile(r"Could not locate (?:class|function) '([^']+)'")  # in what Keras says
PIXELS = ("image", "clip")  # inputs of networks that take bytes


class KerasRuntime:
    """A model with named outputs, as a task's `deployed` makes it."""

    def __init__(self, model: keras.Model, about: About | None = None, path: Path | None = None):
        self.model, self.about, self.path = model, about, path or Path(model.name)
        self.inputs = {tensor.name: _spec(tensor) for tensor in model.inputs}
        self.outputs = {name: _spec(tensor) for name, tensor in model.output.items()}
        self.judge: Callable[[Arrays], Arrays] | None = None  # of `runtimes.familiarity`

    def run(self, arrays: Arrays) -> Arrays:
        return in_batches(self._run, arrays)

    def _run(self, arrays: Arrays) -> Arrays:
        try:
            found = self.model.predict_on_batch(fed(self.model, arrays))
        except Exception as error:  # a graph from elsewhere raises whatever Keras did not think of
            raise ArtifactError(f"cannot run {self.path}: {first_line(error)}") from error
        return {name: np.asarray(array) for name, array in found.items()}


def fed(model: keras.Model, tensors: dict):
    """Named tensors in the structure that `model` takes."""
    if isinstance(model.input, dict):
        return {name: tensors[tensor.name] for name, tensor in model.input.items()}
    found = [tensors[tensor.name] for tensor in model.inputs]
    return found[0] if len(found) == 1 else found


def open_model(path: Path, threads: int | None = None, *, trust: bool = True) -> KerasRuntime:
    model = load(path, trust=trust)
    about, head = model.about, heads.named(model.about.task if model.about else facts.UNSAID)
    if about is None and len(model.outputs) > 1 and not isinstance(model.output, dict):
        raise ArtifactError(f"{path} says nothing of itself, and gives {len(model.outputs)} outputs, which is the "
                            "answer to no task")  # fmt: skip
    try:
        deployed = head.deployed(model)
    except Exception as error:  # likewise
        raise ArtifactError(f"cannot load {path}: {first_line(error)}") from error
    runtime = KerasRuntime(deployed, about, path)
    if path.is_dir() and (known := familiarity.read(ModelDir(path))) is not None:
        runtime.judge = judge(deployed, known)
    return runtime


def judge(model: keras.Model, known: familiarity.Familiarity) -> Callable[[Arrays], Arrays]:
    """Says of records what is `known` of the features that a model's head sees."""
    tap = keras.Model(model.input, model.get_layer(heads.MAIN).input)

    def told(arrays: Arrays) -> Arrays:
        features = familiarity.averaged(np.asarray(tap.predict_on_batch(fed(tap, arrays)), np.float32))
        return {name: np.asarray(array) for name, array in known.told(features).items()}

    return told


def save(model: keras.Model, path: Path, about: About | None = None) -> None:
    """Write a `.keras` file without the optimizer, which is twice the network, and with what it says of itself."""
    with replacing(path) as scratch:
        keras.Model(model.input, model.output, name=model.name).save(scratch)
        if about is not None:
            _note(scratch, about)


def _note(file: Path, about: About) -> None:
    """Into Keras's own metadata: an archive with more than its three files would be unpacked onto a disk to be read."""
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[METADATA] = json.dumps(json.loads(parts[METADATA]) | {KEY: asdict(about)}).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name), data)


def about_of(path: Path) -> About | None:
    """What a `.keras` file says of itself, or the card of a model directory."""
    if path.is_dir():
        directory = ModelDir(path)
        if directory.card.is_file():
            return card_about(directory.read_card(), directory.name)
        return about_of(directory.model)
    with zipfile.ZipFile(path) as archive:
        if METADATA not in archive.namelist() or archive.getinfo(METADATA).file_size > facts.MAX_BYTES:
            return None
        return facts.of_json(archive.read(METADATA), path, KEY)


def card_about(card: Card, name: str) -> About:
    return About(
        task=card.task, input=card.input, labels=card.labels, options=card.options, name=name,
        data_sha256=card.data.get("fingerprint", ""), model_sha256=card.digests.get("model.keras", ""),
        split=card.data.get("split") or {},
    )  # fmt: skip


def load(path: str | os.PathLike[str], *, trust: bool = False) -> keras.Model:
    """The model in a `.keras` file or a model directory. Files that carry code are refused.

    It has what the file says of itself as `about`; None for a file that others made.
    trust: without the limits of files from elsewhere, but for code.
    """
    path = Path(path)
    file = path / "model.keras" if path.is_dir() else path
    if not file.is_file():
        raise ArtifactError(f"no model at {path}: a .keras file or a model directory is needed")
    if path.is_dir():
        ModelDir(path).check_state()
    if not zipfile.is_zipfile(file):
        raise ArtifactError(f"{file} is no .keras file, or it is cut off; copy it again or train anew")
    budget = nullcontext() if trust else _budget(file, keras_archive.check(file))
    try:
        with budget:
            model = keras.saving.load_model(file, compile=False, safe_mode=True)
        own = about_of(file)
        model.about = about_of(path) if path.is_dir() else own
        if own is not None and own.input != model.about.input:
            different = [name for name in {**own.input, **model.about.input}
                         if own.input.get(name) != model.about.input.get(name)]  # fmt: skip
            raise ArtifactError(f"{path / 'card.json'} and {file.name} say different things of {', '.join(different)} "
                                "of the input; put back the card that was written with the file")  # fmt: skip
        return model
    except CnnAppError:
        raise
    except Exception as error:  # a configuration from elsewhere raises whatever Keras did not think of
        raise ArtifactError(f"cannot load {file}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if "unsafe" in str(error) or "lambda" in str(error).lower():
        return "it holds code, which is never run from a file"
    if strange := ELSEWHERE.search(str(error)):
        return f"it has {strange[1]}, which is code that is not in the file; build the network of Keras's own layers"
    return first_line(error)


@contextmanager
def _budget(file: Path, numbers: int) -> Iterator[None]:
    """Refuse layers that want more weights than the file has, before there is memory for them."""
    import tensorflow as tf

    left = numbers

    def counted(create, **options):
        nonlocal left
        value = options["initial_value"]
        if callable(value):
            with tf.Graph().as_default():  # where it has a shape and no memory
                left -= math.prod(value().shape)
        if left < 0:
            raise ArtifactError(f"{file} has layers with more weights than the {numbers:,} that it holds and may add; "
                                f"{keras_archive.INSTEAD}")  # fmt: skip
        return create(**options)

    with tf.variable_creator_scope(counted):
        yield


def _spec(tensor) -> Spec:
    """Of a Keras tensor; pixels come as bytes whatever type the network computes in."""
    return Spec("uint8" if tensor.name in PIXELS else str(tensor.dtype), tuple(tensor.shape))
