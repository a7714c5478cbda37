"""Fine-tuning: a network with weights from elsewhere, another class list, a new head."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np

from cnn_app import registry
from cnn_app.artifacts import ModelDir
from cnn_app.data import pipeline
from cnn_app.data.dataset import Dataset
from cnn_app.recipe import Data, Schedule, Transfer
from cnn_app.runtimes.keras_model import load
from cnn_app.training.run import Job, plan
from cnn_app.transfer import HEAD, copy_weights, features, freezing, linear, load_weights
from cnn_app.transfer.pretrained import published


def prepare(
    source: str, columns: dict, data: Data, schedule: Schedule, transfer: Transfer,
    progress: pipeline.Progress | None = None,
) -> Job:  # fmt: skip
    """A Job that goes on from learned weights with the classes of `data`.

    source: a model directory, whose network and weights these are, or a network's name; that starts from ImageNet's
    weights where `transfer` names no others.
    """
    own = registry.is_file(source)
    if own:
        card = ModelDir(source).read_card()
        name, columns = card.architecture, card.columns | {"image": card.image} | columns
    else:
        name = source
    weights = transfer.weights or (source if own else "imagenet")
    fresh, freeze = False, None

    def adapt(model: keras.Model, dataset: Dataset) -> None:
        nonlocal fresh, freeze
        freeze = freezing.freeze(model, transfer, schedule.epochs)
        fresh = set_weights(model, name, columns, weights, dataset.classes)

    job = plan(name, columns, data, schedule, adapt=adapt, progress=progress)
    probe = fresh and transfer.recipe == "probe-then-tune"
    if probe:
        start_head(job.model, job.dataset, schedule.seed)
    transfer = replace(transfer, weights=str(weights))
    return replace(job, transfer=transfer, freeze=freeze, learned=probe or not fresh)


def set_weights(model: keras.Model, name: str, columns: dict, weights: str, classes: tuple[str, ...]) -> bool:
    """Set what was learned elsewhere; whether the head is new, because it tells other classes apart."""
    if ModelDir(weights).card.is_file():
        new = ModelDir(weights).read_card().labels != classes
        copy_weights(load(weights), model, new_head=new)
        return new
    path = published.fetch(published.of(name, columns)) if weights == "imagenet" else weights
    return load_weights(model, path).new_head


def start_head(model: keras.Model, dataset: Dataset, seed: int) -> linear.Linear:
    """Set the head to the logistic regression on its features: tuning then bends them less (arXiv:2202.10054)."""
    train = dataset.splits["train"]
    seen = np.concatenate(list(features.rows(features.tapped(model), train)))
    found = linear.fit(seen, train.labels, len(dataset.classes), seed=seed)
    model.get_layer(HEAD).set_weights(linear.as_head(found))
    return found
