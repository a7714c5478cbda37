"""Learning rates as functions of the step, and the optimizers that take them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import keras

from cnn_app.recipe import Schedule

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
    return schedule.lr * PLATEAU_FACTOR ** (plateaus if schedule.rate == "plateau" else 0)


def optimizer(schedule: Schedule, factors: Mapping[str, float] | None = None) -> keras.Optimizer:
    """AdamW, or SGD in Nesterov's form; weight decay is decoupled and leaves biases and normalization alone.

    factors: layer name -> what multiplies the learning rate of its weights.
    """
    if schedule.optimizer == "adamw":
        return LayerAdam(schedule.lr, schedule.weight_decay, factors or {})
    nesterov = schedule.momentum > 0
    return LayerSGD(schedule.lr, schedule.weight_decay, factors or {}, momentum=schedule.momentum, nesterov=nesterov)


class ByLayer:
    """An optimizer whose rate and decay depend on the layer; Keras has one rate for all."""

    def __init__(self, rate: float, decay: float, factors: Mapping[str, float], **options):
        super().__init__(rate, **options)
        self.decay, self.by_layer = decay, dict(factors)

    def build(self, variables):
        super().build(variables)
        self.factors = [self.by_layer.get(variable.path.split("/")[0], 1.0) for variable in variables]
        self.decayed = [variable.path.split("/")[-1] not in NOT_DECAYED for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        rate = keras.ops.cast(learning_rate * self.factors[index], variable.dtype)
        if self.decay and self.decayed[index]:
            self.assign_sub(variable, variable * (rate * self.decay))
        super().update_step(gradient, variable, rate)


class LayerAdam(ByLayer, keras.optimizers.Adam): ...


class LayerSGD(ByLayer, keras.optimizers.SGD): ...
