"""What a network has learned, and where it looks in images: drawn into a folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import keras
import numpy as np

from cnn_app.analysis import sheets
from cnn_app.analysis.attribution import Explained, explained, method
from cnn_app.analysis.ways import METHODS, WAYS, WITHOUT_GRADIENTS
from cnn_app.errors import DataError, ModelError, unknown
from cnn_app.jobs.evaluate import Artifact, opened_as
from cnn_app.runtimes import Runtime
from cnn_app.runtimes.keras_model import KerasRuntime
from cnn_app.tasks import Task
from cnn_app.tasks.probabilities import OUTPUT

FILTERS, MAPS = "filters", "maps"


@dataclass(frozen=True)
class Drawing:
    """A PNG that was written, and of what; or why there is none."""

    name: str
    path: Path | None = None
    label: str = ""  # whose score was looked at
    probability: float | None = None
    error: DataError | None = None


def visualize(
    artifact: Artifact, images: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], *,
    what: Sequence[str] = ("gradcam",), label: str | None = None, layer: str | None = None, trust: bool = False,
    stdin: BinaryIO | None = None,
) -> list[Drawing]:  # fmt: skip
    """Draw a sheet for each image into the folder `out`, and one of filters where they are asked for.

    what: of `METHODS`, which say how much each pixel counts for a class; "maps", of `layer`; "filters", of the first
        convolution. All but "occlusion" need the Keras model.
    label: the class to look at; by default each image's best.
    layer: whose maps are weighed or drawn, or a stage for its last; by default the last with the smallest maps.

    Raises UnknownName for a class, layer or way that is not there, ModelError for a network without such maps.
    """
    if strange := [name for name in what if name not in WAYS]:
        raise unknown("way to look", strange[0], WAYS)
    runtime, task = opened_as(artifact, trust)
    if task.input.kind != "image" or OUTPUT not in runtime.outputs:
        raise ModelError(f"{runtime.path} is for {task.name} of {task.input.plural}; what is drawn here are classes of "
                         "images")  # fmt: skip
    model = _keras(runtime, what)
    place = _place(task, label) if label is not None else None
    first = explained(runtime, task, place or 0, model, layer)
    found = []
    if FILTERS in what:
        found.append(_filters(first, Path(out)))
    if set(what) != {FILTERS}:
        found += _images(first, place, images, what, Path(out), stdin)
    return found


def _keras(runtime: Runtime, what: Sequence[str]) -> keras.Model | None:
    """The network up to its logits, where gradients or weights are asked for."""
    needy = [name for name in what if name not in WITHOUT_GRADIENTS]
    if not needy:
        return None
    if not isinstance(runtime, KerasRuntime):
        raise ModelError(f"{needy[0]} needs a Keras model, and {runtime.path} is none; take the model directory, or "
                         "--what occlusion, which asks for answers alone")  # fmt: skip
    return keras.Model(runtime.model.input, runtime.model.get_layer(OUTPUT).input)


def _place(task: Task, label: str) -> int:
    labels = task.labels or ()
    if label not in labels:
        raise unknown("class", label, labels)
    return labels.index(label)


def _images(first: Explained, place: int | None, images, what, out: Path, stdin) -> Iterator[Drawing]:
    task = first.task
    for name, data in task.input.records(list(map(os.fspath, images)), stdin or sys.stdin.buffer):
        try:
            if isinstance(data, DataError):
                raise data
            image = task.input.load(data, name)["image"]
        except DataError as error:
            yield Drawing(name, error=error)
            continue
        yield _image(first, place, name, image, what, out)


def _image(first: Explained, place: int | None, name: str, image: np.ndarray, what, out: Path) -> Drawing:
    (taken,) = first.runtime.inputs
    outputs = first.runtime.run({taken: image[None]})
    best = place if place is not None else _best(outputs[OUTPUT])
    seen = replace(first, place=best)
    probability = float(seen.probability(outputs)[0])
    label = first.task.labels[best] if first.task.labels else str(best)
    stem = out / Path(name).stem
    title = f"{name}: {label} {probability:.3f}"
    heats = {way: method(way)(seen, image) for way in what if way in METHODS}
    path = None
    if heats:
        where = f", maps of {seen.layer}" if seen.layer and any(way.startswith("gradcam") for way in heats) else ""
        path = stem.with_name(f"{stem.name}.seen.png")
        sheets.draw_heats(image, heats, title + where, path)
    if MAPS in what:
        path = stem.with_name(f"{stem.name}.maps.png")
        maps = keras.Model(first.model.input, first.model.get_layer(first.layer).output)(image[None].astype("float32"))
        high, wide, channels = maps.shape[1:]
        told = f"{name}: {min(sheets.MAPS, channels)} strongest of {channels} maps of {high}x{wide}, {first.layer}"
        sheets.draw_maps(np.asarray(maps[0]), told, path)
    return Drawing(name, path, label, probability)


def _best(probabilities: np.ndarray) -> int:
    """The class of the image, or that which most of its places have."""
    if probabilities.ndim == 2:
        return int(probabilities[0].argmax())
    counts = np.bincount(probabilities[0].argmax(-1).ravel(), minlength=probabilities.shape[-1])
    return int(counts[1:].argmax()) + 1 if counts[1:].any() else int(counts.argmax())


def _filters(first: Explained, out: Path) -> Drawing:
    kernels = [layer for layer in first.model.layers if layer.weights and len(layer.weights[0].shape) == 4]
    if not kernels:
        raise ModelError(f"{first.model.name} has no convolution whose filters could be drawn")
    kernel, path = np.asarray(kernels[0].weights[0]), out / "filters.png"
    high, wide, channels, filters = kernel.shape
    told = f"{min(sheets.FILTERS, filters)} of {filters} filters of {high}x{wide}x{channels}, {kernels[0].name}"
    sheets.draw_filters(kernel, told, path)
    return Drawing(FILTERS, path)
