"""Answers that are maps, at the size of the images that they are of: by what the network sees of each, or by tiles."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cnn_app.errors import DataError, ModelError
from cnn_app.runtimes import Runtime
from cnn_app.tasks import Task, tiling, whole_masks
from cnn_app.tasks.probabilities import OUTPUT
from cnn_app.tensors import Arrays

SCREEN = 1200  # pixels


@dataclass(frozen=True)
class Tiles:
    """overlap: pixels that maps share at least; None for a quarter of their shorter side."""

    overlap: int | None = None


@dataclass(frozen=True)
class Map:
    """What was said of one image, or why nothing was."""

    name: str
    answer: dict | None = None
    image: np.ndarray | None = None  # as it is, upright: uint8 (h, w, 3)
    places: np.ndarray | None = None  # of classes, uint8 (h, w); 255 where the network saw nothing
    outputs: Arrays | None = None  # without a batch axis; none by tiles
    record: Arrays | None = None  # what the network took; likewise
    error: DataError | None = None

    def keep(
        self, task: Task, name: str, draw: str | None = None, masks: str | None = None, overlays: str | None = None
    ) -> None:
        """Write a file of this name into each folder: answer, mask, and image under its mask."""
        assert self.image is not None and self.places is not None
        known = self.places[self.places != whole_masks.IGNORED]
        classes = max(len(task.labels), int(known.max(initial=0)) + 1)
        if masks:
            whole_masks.write(self.places, classes, Path(masks) / name)
        if overlays:
            whole_masks.write_over(self.image, self.places, classes, Path(overlays) / name)
        if draw:
            task.draw(*self._drawn(), self.name, Path(draw) / name)

    def _drawn(self) -> tuple[Arrays, Arrays]:
        """Outputs and record for a figure; by tiles, what is left of both on a screen."""
        if self.outputs is not None and self.record is not None:
            return self.outputs, self.record
        assert self.image is not None and self.places is not None
        step = -(-max(self.places.shape) // SCREEN)
        return {OUTPUT: self.places[::step, ::step]}, {"image": self.image[::step, ::step]}


def maps(
    runtime: Runtime, task: Task, records: str | os.PathLike[str] | Iterable[str], top: int = 5,
    stdin: BinaryIO | None = None, tiles: Tiles | None = None,
) -> Iterator[Map]:  # fmt: skip
    """A map for each image, one after the other. Raises ModelError where the task has none."""
    if not task.is_map:
        raise ModelError(f"{runtime.path} is for {task.name}, whose answers are no maps of an image; leave out the "
                         "options --tile, --masks and --overlays")  # fmt: skip
    of = _whole(runtime, task, top) if tiles is None else _tiled(runtime, task, top, tiles)
    return _each(task, records, stdin, of)


def _each(task: Task, records, stdin: BinaryIO | None, of: Callable[[str, bytes], Map]) -> Iterator[Map]:
    import sys

    places = [os.fspath(records)] if isinstance(records, str | os.PathLike) else list(map(os.fspath, records))
    for name, data in task.input.records(places, stdin or sys.stdin.buffer):
        try:
            yield Map(name, error=data) if isinstance(data, DataError) else of(name, data)
        except DataError as error:
            yield Map(name, error=error)


def _image(name: str, data: bytes) -> np.ndarray:
    from cnn_app.inputs import conversion, pixels

    return pixels.whole(conversion.as_png(data), name)


def _whole(runtime: Runtime, task: Task, top: int) -> Callable[[str, bytes], Map]:
    """By what the network sees, each pixel as the nearest that it has an answer for."""

    def of(name: str, data: bytes) -> Map:
        record = task.input.load(data, name)
        found = runtime.run({key: np.asarray(array)[None] for key, array in record.items()})
        outputs = {key: array[0] for key, array in found.items()}
        image, places = _image(name, data), task.places(outputs)
        grown = whole_masks.at_size(places, task.input, image.shape[:2])
        return Map(name, task.answer(outputs, top), image, grown, outputs, record)

    return of


def _tiled(runtime: Runtime, task: Task, top: int, tiles: Tiles) -> Callable[[str, bytes], Map]:
    """At the scale of the image itself."""
    (key, spec), *_ = task.input.specs().items()
    assert spec.shape is not None
    high, wide, channels = (int(side or 0) for side in spec.shape[1:])
    told = next(iter(runtime.outputs.values()))
    shown = (int((told.shape or ())[1] or 0), int((told.shape or ())[2] or 0))
    overlap = min(shown) // 4 if tiles.overlap is None else tiles.overlap
    if not 0 <= overlap < min(shown):
        raise ModelError(f"maps of {shown[1]}x{shown[0]} pixels share {min(shown) - 1} at most, received {overlap}")
    reach = _reach(runtime)
    sharp = reach is not None and overlap // 2 >= reach

    def look(pixels: np.ndarray) -> np.ndarray:
        from cnn_app.inputs.pixels import in_channels

        taken = pixels if channels == pixels.shape[-1] else in_channels(pixels.astype(np.float32), channels).numpy()
        found = runtime.run({key: taken[None]})
        scores = {name: array[0] for name, array in found.items()}
        first = next(iter(scores.values()))
        return first if first.dtype.kind == "f" else task.places(scores)

    def of(name: str, data: bytes) -> Map:
        image = _image(name, data)
        places = tiling.mask_of(image, look, (high, wide), shown, overlap, sharp)
        return Map(name, task.of_places(places, top), image, places)

    return of


def _reach(runtime: Runtime) -> int | None:
    """Pixels that a place of the map sees to either side, where the network is at hand to be looked at."""
    from cnn_app.analysis.receptive_field import views

    model = getattr(runtime, "model", None)
    if model is None:
        return None
    view = list(views(model).values())[-1]
    if view.windows is None or view.stride != 1:
        return None
    margin = (model.input_shape[1] - next(iter(runtime.outputs.values())).shape[1]) // 2
    sides = [(place + margin - first, last - place - margin) for place, (first, last) in enumerate(view.windows)]
    return max(max(pair) for pair in sides)
