"""Fine-tuning: a trained model directory, another class list, a new head."""

from __future__ import annotations

import keras

from cnn_app.artifacts import ModelDir
from cnn_app.data import pipeline
from cnn_app.data.dataset import Dataset
from cnn_app.recipe import Data, Schedule
from cnn_app.runtimes.keras_model import load
from cnn_app.training.run import Job, plan
from cnn_app.transfer import copy_weights, freeze


def prepare(
    source: ModelDir, data: Data, schedule: Schedule, *,
    freeze_backbone: bool, freeze_batch_norm: bool, progress: pipeline.Progress | None = None,
) -> Job:  # fmt: skip
    """A Job for `data` that starts from the weights of `source`; where the classes are the same, so does its head."""
    card = source.read_card()
    weights = load(source.path)

    def adapt(model: keras.Model, dataset: Dataset) -> None:
        copy_weights(weights, model, new_head=dataset.classes != card.labels)
        freeze(model, backbone=freeze_backbone, batch_norm=freeze_batch_norm)

    columns = card.columns | {"image": card.image}
    return plan(card.architecture, columns, data, schedule, adapt=adapt, progress=progress)
