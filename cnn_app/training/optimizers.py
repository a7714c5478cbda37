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


def optimizer(
    schedule: Schedule, factors: Mapping[str, float] | None = None, late: Mapping[str, int] | None = None
) -> keras.Optimizer:
    """AdamW, or SGD in Nesterov's form; weight decay is decoupled and leaves biases and normalization alone.

    factors: layer name -> what multiplies the learning rate of its weights.
    late: layer name -> the step since which it learns, of layers that were frozen before.
    """
    updates = {name: step // schedule.accumulate for name, step in (late or {}).items()}
    by_layer = (schedule.lr, schedule.weight_decay, factors or {}, updates)
    steps = schedule.accumulate if schedule.accumulate > 1 else None
    options = {"global_clipnorm": schedule.clip or None, "gradient_accumulation_steps": steps}
    if schedule.optimizer == "adamw":
        found = LayerAdam(*by_layer, **options)
    else:
        found = LayerSGD(*by_layer, momentum=schedule.momentum, nesterov=schedule.momentum > 0, **options)
    return keras.optimizers.LossScaleOptimizer(found) if schedule.precision == "float16" else found


class ByLayer:
    """An optimizer whose rate and decay depend on the layer; Keras has one rate for all."""

    def __init__(self, rate: float, decay: float, factors: Mapping[str, float], late: Mapping[str, int], **options):
        super().__init__(rate, **options)
        self.decay, self.by_layer, self.late_layers = decay, dict(factors), dict(late)

    def build(self, variables):
        super().build(variables)
        layers = [variable.path.split("/")[0] for variable in variables]
        self.factors = [self.by_layer.get(layer, 1.0) for layer in layers]
        self.late = [self.late_layers.get(layer, 0) for layer in layers]
        self.decayed = [variable.path.split("/")[-1] not in NOT_DECAYED for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        rate = keras.ops.cast(learning_rate * self.factors[index], variable.dtype)
        if self.decay and self.decayed[index]:
            self.assign_sub(variable, variable * (rate * self.decay))
        super().update_step(gradient, variable, self.corrected(rate, index))

    def _all_reduce_sum_gradients(self, grads_and_vars):
        """The step has added those of several devices, before they were clipped or accumulated."""
        return grads_and_vars

    def corrected(self, rate, index: int):
        """The rate for slots that may be younger than the optimizer."""
        return rate


class LayerAdam(ByLayer, keras.optimizers.Adam):
    def corrected(self, rate, index: int):
        if not self.late[index]:
            return rate
        steps = keras.ops.cast(self.iterations + 1, rate.dtype)
        return rate * self._correction(steps - self.late[index]) / self._correction(steps)

    def _correction(self, steps):
        """Of the bias of slots that began at zero so many steps ago (arXiv:1412.6980, section 2)."""
        return keras.ops.sqrt(1 - self.beta_2**steps) / (1 - self.beta_1**steps)


class LayerSGD(ByLayer, keras.optimizers.SGD): ...
