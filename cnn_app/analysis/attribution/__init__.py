"""Where a network looked: how much each pixel of an image counts for a class, by one of `ways.METHODS`.

To add a method: a module here with `heat(explained, image) -> (h, w)`, and a line in that table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module

import keras
import numpy as np
from keras import ops

from cnn_app.analysis.attribution.rectified import rectified_back
from cnn_app.errors import ModelError
from cnn_app.heads import MAIN, needed
from cnn_app.runtimes import Runtime
from cnn_app.tasks import Task
from cnn_app.tasks.probabilities import OUTPUT
from cnn_app.transfer import layers_at


@dataclass(frozen=True)
class Explained:
    """A class that a network gives an image, and what its logits are computed by, where it is Keras's."""

    runtime: Runtime
    task: Task
    place: int  # of the class
    model: keras.Model | None = None  # image -> logits (n, classes) or (n, h, w, classes)
    layer: str = ""  # whose maps are weighed
    rectified: Callable[[bool], keras.Model] | None = None  # `rectified_back` of the model, copied once

    def score(self, logits):
        """(n,), the logit of the class; of a map its mean over the places that the class has."""
        if len(logits.shape) == 2:
            return logits[:, self.place]
        here = ops.cast(ops.equal(ops.argmax(logits, axis=-1), self.place), logits.dtype)
        places = ops.maximum(ops.sum(here, axis=(1, 2)), 1.0)
        return ops.sum(logits[..., self.place] * here, axis=(1, 2)) / places

    def probability(self, outputs) -> np.ndarray:
        """(n,), likewise of what a runtime gives."""
        found = outputs[OUTPUT][..., self.place]
        return found.reshape(len(found), -1).mean(1)


def method(name: str) -> Callable[[Explained, np.ndarray], np.ndarray]:
    return import_module(f"cnn_app.analysis.attribution.{name}").heat


def explained(runtime: Runtime, task: Task, place: int, model: keras.Model | None, layer: str | None) -> Explained:
    """Raises ModelError where there are no maps."""
    if model is None:
        return Explained(runtime, task, place)
    logits = model.output[MAIN] if isinstance(model.output, dict) else model.output
    whole = keras.Model(needed(model, logits), logits)
    chosen = layers_at(model, layer)[-1] if layer else _deepest(whole)
    if len(chosen.output.shape) != 4:
        raise ModelError(f"{chosen.name} gives {tuple(chosen.output.shape[1:])}, which is no map; take a layer whose "
                         "output has height, width and channels")  # fmt: skip
    return Explained(runtime, task, place, whole, chosen.name, cache(partial(rectified_back, whole)))


def _deepest(model: keras.Model) -> keras.Layer:
    """The last of the layers with the smallest maps of more than one place."""
    maps = [layer for layer in model.layers[1:] if len(layer.output.shape) == 4 and min(layer.output.shape[1:3]) > 1]
    if not maps or not any(layer.weights for layer in maps):
        raise ModelError(f"{model.name} has no maps to be looked at; --what occlusion needs none")
    smallest = min(layer.output.shape[1] * layer.output.shape[2] for layer in maps)
    return [layer for layer in maps if layer.output.shape[1] * layer.output.shape[2] == smallest][-1]
