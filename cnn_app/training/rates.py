"""Learning rates as functions of the step, and the optimizers that take them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cnn_app.recipe import Schedule

if TYPE_CHECKING:
    import keras

PLATEAU_PATIENCE, PLATEAU_FACTOR = 3, 0.1  # epochs without a better val loss, then a tenth (Krizhevsky et al. 2012)
NOT_DECAYED = ("bias", "gamma", "beta")


def learning_rate(schedule: Schedule, step: int, steps_per_epoch: int, plateaus: int = 0) -> float:
    """The rate of optimizer step `step`: linear warm-up, then what `schedule.rate` says. `plateaus` met so far."""
    total, warmup = schedule.epochs * steps_per_epoch, schedule.warmup * steps_per_epoch
    warmup = min(warmup, total / 2)
    if step < warmup:
        return schedule.lr * (step + 1) / (warmup + 1)
    if schedule.rate == "cosine":
        return schedule.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
    return schedule.lr * PLATEAU_FACTOR**plateaus


def optimizer(schedule: Schedule) -> keras.Optimizer:
    """AdamW, or SGD in Nesterov's form; weight decay is decoupled and leaves biases and normalization alone."""
    import keras

    decay = schedule.weight_decay or None
    if schedule.optimizer == "adamw":
        made = keras.optimizers.AdamW(schedule.lr, weight_decay=decay or 0.0)
    else:
        nesterov = schedule.momentum > 0
        made = keras.optimizers.SGD(schedule.lr, momentum=schedule.momentum, nesterov=nesterov, weight_decay=decay)
    if decay:
        made.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
    return made
