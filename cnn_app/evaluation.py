"""Any artifact against labelled images, and its answers to unlabelled ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from cnn_app import data as sources
from cnn_app.artifacts import ModelDir
from cnn_app.data import images, pipeline
from cnn_app.data.dataset import Dataset
from cnn_app.errors import DataError
from cnn_app.recipe import Data
from cnn_app.runtimes import labels_of, open_model
from cnn_app.tasks import classification

BATCH = 64
CROP = 7 / 8  # of the side, in a view of --tta crop


@dataclass(frozen=True)
class Measured:
    """Reports by artifact, and that of the mean of their probabilities where there are several."""

    labels: tuple[str, ...]  # in the first model's order, as are the reports
    reports: dict[str, classification.Report]
    ensemble: classification.Report | None


def evaluate(
    artifacts: Iterable[str | os.PathLike[str]], data: Data, split: str = "test", tta: tuple[str, ...] = (),
    progress: pipeline.Progress | None = None,
) -> Measured:  # fmt: skip
    """Measure artifacts, and their ensemble, on one split of `data`; `tta` averages over views of each image."""
    loaded = sources.load(data)
    labels: tuple[str, ...] = ()
    prepared: dict[tuple[int, ...], Dataset] = {}  # by size: models that see alike share one reading
    truth, found = np.empty(0), {}
    for artifact in artifacts:
        runtime = open_model(artifact)
        classes = runtime.predict(np.zeros((1, *runtime.image), np.uint8)).shape[1]
        own = labels_of(artifact, classes) or loaded.classes
        ordered, labels = loaded.in_order(own), labels or own
        views = views_of(runtime.image, tta)
        size = (*views.size, runtime.image[2])
        if size not in prepared:
            skip = data.on_bad_image == "skip"
            prepared[size] = pipeline.prepare(ordered, size, skip_bad=skip, progress=progress).in_order(labels)
        chosen = prepared[size].splits[split]
        place = [own.index(label) for label in labels]  # every model's answers in the order of the first one's labels
        batches = (views.mean(runtime.predict, images) for images in pipeline.arrays(chosen, BATCH))
        found[str(artifact)] = np.concatenate(list(batches))[:, place]
        truth = chosen.labels
    reports = {name: classification.report(answers, truth, labels) for name, answers in found.items()}
    mean = np.mean(list(found.values()), 0)
    return Measured(labels, reports, classification.report(mean, truth, labels) if len(found) > 1 else None)


@dataclass(frozen=True)
class Views:
    """Windows of an image of `size`, each `image` large, and whether each is also looked at from behind."""

    size: tuple[int, int]
    image: tuple[int, int]
    corners: tuple[tuple[int, int], ...]
    flip: bool

    def mean(self, predict: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray) -> np.ndarray:
        """Probabilities for pixels (n, *size, C), averaged over the views."""
        height, width = self.image
        windows = [pixels[:, y : y + height, x : x + width] for y, x in self.corners]
        windows += [window[:, :, ::-1] for window in windows] if self.flip else []
        return np.mean([predict(np.ascontiguousarray(window)) for window in windows], 0)


def views_of(image: tuple[int, ...], tta: tuple[str, ...]) -> Views:
    """The whole image; with "crop" the corners and the centre of one 8/7 as large, 224 of 256; with "flip" mirrored.

    Both together are AlexNet's ten views (Krizhevsky et al. 2012, section 4.1).
    """
    height, width = image[:2]
    if "crop" not in tta:
        return Views((height, width), (height, width), ((0, 0),), "flip" in tta)
    tall, wide = round(height / CROP), round(width / CROP)
    bottom, right = tall - height, wide - width
    corners = ((0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2))
    return Views((tall, wide), (height, width), corners, "flip" in tta)


def data_for(directory: ModelDir, data: Data | None, progress: pipeline.Progress | None = None) -> Dataset:
    """The images for a model: those given, or those it was trained on, in the model's size and label order."""
    card = directory.read_card()
    if data is None:
        data = trained_on(directory)
    dataset = sources.load(data).in_order(card.labels)
    return pipeline.prepare(dataset, card.image, skip_bad=data.on_bad_image == "skip", progress=progress)


def trained_on(directory: ModelDir) -> Data:
    """The data that the card of a model names."""
    known = directory.read_card().data
    if "source" not in known:
        raise DataError(f"{directory.card} does not say which data it was trained on; give --data")
    return Data(**{name: known[name] for name in ("source", "directory", "on_bad_image") if name in known})


def predict(artifact: str | os.PathLike[str], named: Iterable[tuple[str, bytes]], k: int = 5) -> Iterable[dict]:
    """For each (name, encoded image) its k most probable labels: {"image", "top": [{"label", "probability"}]}."""
    runtime = open_model(artifact)
    for name, data in named:
        probabilities = runtime.predict(images.load(data, name, runtime.image)[None])[0]
        labels = labels_of(artifact, len(probabilities)) or tuple(map(str, range(len(probabilities))))
        yield {"image": name, "top": classification.top(probabilities, labels, k)}
