"""Quantization-aware training: a network goes on learning with the rounding of its int8 file (arXiv:1712.05877)."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace

import keras

from cnn_app.artifacts import Card, ModelDir
from cnn_app.data.dataset import Dataset
from cnn_app.errors import ExportError, TrainingError
from cnn_app.layers import FakeQuant
from cnn_app.recipe import Schedule
from cnn_app.tasks import Report, Task
from cnn_app.toml_tables import parse
from cnn_app.training import engine
from cnn_app.training.freeze_schedule import FreezeSchedule, Phase
from cnn_app.training.stopping import Stopped

SLOWER = 0.05  # of the learning rate that the network was trained with


@dataclass(frozen=True)
class Tuning:
    """How to train on: with which data, and what is told of it."""

    dataset: Dataset
    schedule: Schedule
    watch: engine.Watch


def schedule(card: Card, epochs: int) -> Schedule:
    """The network's own schedule, from where it ended: a small learning rate that falls to zero."""
    known = {name: value for name, value in card.recipe.items() if name in Schedule.__dataclass_fields__}
    own = parse(Schedule, known, "the recipe of the card")
    slow = {"epochs": epochs, "lr": own.lr * SLOWER, "rate": "cosine", "warmup": 0.0, "patience": 0}
    return replace(own, **slow, ema=0.0, accumulate=1, precision="float32")


def train(task: Task, rounding: keras.Model, tuning: Tuning) -> None:
    """Train a model that `simulation.simulated` made, in place.

    Its ranges follow the batches for the first half of the epochs and stay then. The best epoch on the val split is
    kept, which may be that before the first step.
    """
    constant = frozenset(layer.name for layer in rounding.layers if layer.weights and not layer.trainable)
    ranges = frozenset(layer.name for layer in rounding.layers if isinstance(layer, FakeQuant))
    epochs = tuning.schedule.epochs
    freeze = FreezeSchedule((Phase(0, constant), *([Phase(epochs // 2, constant | ranges)] if epochs > 1 else ())))
    best = rounding.get_weights()

    def keep(found: keras.Model, row: dict, report: Report) -> None:
        best[:] = found.get_weights()

    with tempfile.TemporaryDirectory() as scratch:
        try:
            engine.train(rounding, task, tuning.dataset, tuning.schedule, ModelDir(scratch), {}, keep, freeze=freeze,
                         learned=True, watch=tuning.watch)  # fmt: skip
        except Stopped:
            raise KeyboardInterrupt from None  # nothing is kept that one could go on with
        except TrainingError as error:
            raise ExportError(f"quantization-aware training failed: {error}") from error
    rounding.set_weights(best)
