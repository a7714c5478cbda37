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
from cnn_app.analysis.field import field
from cnn_app.analysis.maximised import maximised
from cnn_app.analysis.strongest import Strongest, check_channels
from cnn_app.analysis.ways import METHODS, WAYS, WITHOUT_GRADIENTS, WITHOUT_IMAGES
from cnn_app.errors import DataError, ModelError, unknown
from cnn_app.jobs.evaluate import unused
from cnn_app.jobs.opened import Artifact, opened_as
from cnn_app.runtimes import Runtime
from cnn_app.runtimes.keras_model import KerasRuntime
from cnn_app.runtimes.renamed import Renamed
from cnn_app.tasks import Task
from cnn_app.tasks.probabilities import OUTPUT

FILTERS, MAPS, FIELD, STRONGEST, MAXIMISED = "filters", "maps", "field", "strongest", "maximised"
CHANNELS, CLASSES = 8, 8  # that are drawn where none is named


@dataclass(frozen=True)
class Drawing:
    """A PNG that was written, and of what; or why there is none."""

    name: str  # of the image, or of the way that needs none
    path: Path | None = None
    label: str = ""  # whose score was looked at
    probability: float | None = None
    error: DataError | None = None


def visualize(
    artifact: Artifact, images: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], *,
    what: Sequence[str] = ("gradcam",), label: str | None = None, layer: str | None = None,
    channels: Sequence[int] = (), trust: bool = False, stdin: BinaryIO | None = None,
) -> list[Drawing]:  # fmt: skip
    """Draw a sheet for each image into the folder `out`, and those that are of the network or of all images.

    what: of `METHODS`, which say how much each pixel counts for a class; "maps", of `layer`; "field", what the middle
        of `layer` sees of an image; "strongest", the nine of the images that each of some channels answers most;
        "filters", of the first convolution; "maximised", an image for each class. All but "occlusion" need the Keras
        model.
    label: the class to look at; by default each image's best.
    layer: whose maps are weighed or drawn, or a stage for its last; by default the last with the smallest maps.
    channels: of that layer, for "strongest"; by default the eight that answer most.

    Raises UnknownName for a class, layer or way that is not there, ModelError for a network without such maps or
    channels.
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
    if model is not None:
        check_channels(first, tuple(channels))
    found = []
    if FILTERS in what:
        found.append(_filters(first, Path(out)))
    if MAXIMISED in what:
        found.append(_maximised(first, place, Path(out)))
    if set(what) - {*WITHOUT_IMAGES}:
        found += _images(first, place, images, what, channels, Path(out), stdin)
    return found


def _keras(runtime: Runtime, what: Sequence[str]) -> keras.Model | None:
    """The network up to its logits, where gradients or weights are asked for."""
    needy = [name for name in what if name not in WITHOUT_GRADIENTS]
    if not needy:
        return None
    opened = runtime.runtime if isinstance(runtime, Renamed) else runtime
    if not isinstance(opened, KerasRuntime):
        raise ModelError(f"{needy[0]} needs a Keras model, and {runtime.path} is none; take the model directory, or "
                         "--what occlusion, which asks for answers alone")  # fmt: skip
    return keras.Model(opened.model.input, opened.model.get_layer(OUTPUT).input)


def _place(task: Task, label: str) -> int:
    labels = task.labels or ()
    if label not in labels:
        raise unknown("class", label, labels)
    return labels.index(label)


def _images(first: Explained, place: int | None, images, what, channels, out: Path, stdin) -> Iterator[Drawing]:
    task, taken = first.task, set()
    strongest = Strongest(first) if STRONGEST in what else None
    for name, data in task.input.records(list(map(os.fspath, images)), stdin or sys.stdin.buffer):
        try:
            if isinstance(data, DataError):
                raise data
            image = task.input.load(data, name)["image"]
        except DataError as error:
            yield Drawing(name, error=error)
            continue
        if strongest:
            strongest.add(image)
        stem = unused(Path(name).stem, taken)  # images of several folders may share one
        taken.add(stem)
        yield from _image(first, place, name, image, what, out / stem)
    if strongest and (strongest.waiting or strongest.count):
        yield _strongest(strongest, channels, out)


def _image(first: Explained, place: int | None, name: str, image: np.ndarray, what, stem: Path) -> Iterator[Drawing]:
    heated = [way for way in what if way in METHODS]
    if not heated and not {MAPS, FIELD} & {*what}:
        return
    (taken,) = first.runtime.inputs
    outputs = first.runtime.run({taken: image[None]})
    best = place if place is not None else _best(outputs[OUTPUT])
    seen = replace(first, place=best)
    probability = float(seen.probability(outputs)[0])
    label = _label(first.task, best)
    if heated:
        heats = {way: method(way)(seen, image) for way in heated}
        where = f", maps of {seen.layer}" if seen.layer and any(way.startswith("gradcam") for way in heats) else ""
        path = stem.with_name(f"{stem.name}.seen.png")
        sheets.draw_heats(image, heats, f"{name}: {label} {probability:.3f}{where}", path)
        yield Drawing(name, path, label, probability)
    if MAPS in what:
        path = stem.with_name(f"{stem.name}.maps.png")
        maps = keras.Model(first.model.input, first.model.get_layer(first.layer).output)(image[None].astype("float32"))
        high, wide, depth = maps.shape[1:]
        told = f"{name}: {min(sheets.MAPS, depth)} strongest of {depth} maps of {high}x{wide}, {first.layer}"
        sheets.draw_maps(np.asarray(maps[0]), told, path)
        yield Drawing(name, path, label, probability)
    if FIELD in what:
        path = stem.with_name(f"{stem.name}.field.png")
        seen_of_it = field(first.model, first.layer, image)
        told = f"{name}: what the middle of {first.layer} sees, row {seen_of_it.row}, column {seen_of_it.column}"
        sheets.draw_field(image, seen_of_it, told, path)
        yield Drawing(name, path, label, probability)


def _strongest(strongest: Strongest, channels: Sequence[int], out: Path) -> Drawing:
    blocks, path = {}, out / f"{strongest.layer}.strongest.png"
    chosen = channels or strongest.liveliest(CHANNELS)
    for channel in chosen:
        peaks = strongest.peaks(channel)
        windows = strongest.windows(peaks)
        told = [strongest.projected(peaks, channel, through_closed) for through_closed in (True, False)]
        blocks[f"{channel}"] = (
            [peak.image[window] for peak, window in zip(peaks, windows, strict=True)],
            *([sheets.signed(one[window]) for one, window in zip(back, windows, strict=True)] for back in told),
        )
    count = "channel" if len(chosen) == 1 else f"{len(chosen)} channels"
    title = f"{strongest.layer}: the images of {strongest.count} that {count} of {strongest.channels} answer most"
    sheets.draw_strongest(blocks, title, path)
    return Drawing(STRONGEST, path)


def _maximised(first: Explained, place: int | None, out: Path) -> Drawing:
    places = [place] if place is not None else list(range(first.model.output_shape[-1]))[:CLASSES]
    images, path = maximised(first.model, places), out / "maximised.png"
    (taken,) = first.runtime.inputs
    found = first.runtime.run({taken: images})
    shares = [replace(first, place=one).probability(found)[number] for number, one in enumerate(places)]
    names = [f"{_label(first.task, one)} {share:.3f}" for one, share in zip(places, shares, strict=True)]
    sheets.draw_images(
        images, names, "Images that classes answer most, by gradient ascent, and their probability", path
    )
    return Drawing(MAXIMISED, path)


def _label(task: Task, place: int) -> str:
    return task.labels[place] if task.labels else f"class {place}"


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
