"""Learning rates as functions of the step, and the optimizers that take them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import keras

from cnn_app.recipe import Schedule

PLATEAU_PATIENCE, FACTOR = 3, 0.1  # epochs without a better val loss, then a tenth (Krizhevsky et al. 2012)
NOT_DECAYED = ("bias", "gamma", "beta")
BETA_1, BETA_2 = 0.9, 0.999  # of Adam
ANSWERS = ("logits", "head_")  # in front of the names of layers that give the answer


def learning_rate(schedule: Schedule, step: int, steps_per_epoch: int, plateaus: int = 0) -> float:
    """The rate of optimizer step `step`: linear warm-up, then what `schedule.rate` says. `plateaus` met so far."""
    total, warmup = schedule.epochs * steps_per_epoch, schedule.warmup * steps_per_epoch
    warmup = min(warmup, total / 2)
    if step < warmup:
        return schedule.lr * (step + 1) / (warmup + 1)
    epoch, done = step / steps_per_epoch, (step - warmup) / max(1, total - warmup)
    falls = {
        "cosine": lambda: 0.5 * (1 + math.cos(math.pi * done)),
        "linear": lambda: 1 - done,
        "exponential": lambda: schedule.rate_decay ** (epoch - schedule.warmup),
        "steps": lambda: FACTOR ** sum(milestone <= epoch for milestone in schedule.milestones),
        "plateau": lambda: FACTOR**plateaus,
        "constant": lambda: 1.0,
    }
    return schedule.lr * falls[schedule.rate]()


def optimizer(
    schedule: Schedule, factors: Mapping[str, float] | None = None, late: Mapping[str, int] | None = None
) -> keras.Optimizer:
    """The optimizer of the schedule's name; weight decay leaves biases and normalization alone.

    factors: layer name -> what multiplies the learning rate of its weights.
    late: layer name -> the step since which it learns, of layers that were frozen before.
    """
    updates = {name: step // schedule.accumulate for name, step in (late or {}).items()}
    by_layer = (schedule.lr, schedule.weight_decay, factors or {}, updates)
    steps = schedule.accumulate if schedule.accumulate > 1 else None
    options = {"global_clipnorm": schedule.clip or None, "gradient_accumulation_steps": steps}
    found = KINDS[schedule.optimizer](schedule.momentum, by_layer, options)
    return keras.optimizers.LossScaleOptimizer(found) if schedule.precision == "float16" else found


class ByLayer:
    """An optimizer whose rate and decay depend on the layer; Keras has one rate for all. The decay is decoupled."""

    coupled = False

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
            if self.coupled:
                gradient = gradient + variable * self.decay
            else:
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
        return _of_late(rate, self.iterations, self.late[index])


class LayerSGD(ByLayer, keras.optimizers.SGD): ...


class LayerClassicSGD(LayerSGD):
    """With the L2 penalty in the gradient, as papers until 2017 have it."""

    coupled = True


class LayerRMSprop(ByLayer, keras.optimizers.RMSprop):
    coupled = True


class LayerLamb(ByLayer, keras.optimizers.Lamb): ...


class LayerMuon(ByLayer, keras.optimizers.Muon):
    """Kernels of convolutions, too, are matrices (inputs, filters), which Keras leaves to Adam; those of depthwise
    convolutions, of what gives the answer, and vectors are Adam's.
    """

    def corrected(self, rate, index: int):
        return _of_late(rate, self.iterations, self.late[index]) if self.adam_velocities[index] is not None else rate

    def _should_use_adamw(self, variable):
        layer = variable.path.split("/")[0]
        return len(variable.shape) < 2 or min(variable.shape[-2:]) == 1 or layer.startswith(ANSWERS)

    def zeropower_via_newtonschulz5(self, x, steps: int):
        return keras.ops.reshape(super().zeropower_via_newtonschulz5(_matrix(x), steps), x.shape)

    def lr_adjust(self, x):
        return keras.ops.reshape(super().lr_adjust(_matrix(x)), x.shape)


def _matrix(kernel):
    return keras.ops.reshape(kernel, (-1, kernel.shape[-1]))


def _of_late(rate, iterations, late: int):
    """The rate for slots of Adam that are younger than the optimizer."""
    if not late:
        return rate
    steps = keras.ops.cast(iterations + 1, rate.dtype)
    return rate * _correction(steps - late) / _correction(steps)


def _correction(steps):
    """Of the bias of slots that began at zero so many steps ago (arXiv:1412.6980, section 2)."""
    return keras.ops.sqrt(1 - BETA_2**steps) / (1 - BETA_1**steps)


KINDS: dict[str, Callable] = {  # (momentum, the parts of ByLayer, options of Keras) -> an optimizer
    "adamw": lambda momentum, by, options: LayerAdam(*by, beta_1=BETA_1, beta_2=BETA_2, **options),
    "sgd": lambda momentum, by, options: LayerSGD(*by, momentum=momentum, nesterov=momentum > 0, **options),
    "sgd-l2": lambda momentum, by, options: LayerClassicSGD(*by, momentum=momentum, **options),
    # arXiv:1512.00567, section 8
    "rmsprop": lambda momentum, by, options: LayerRMSprop(*by, rho=0.9, momentum=momentum, epsilon=1.0, **options),
    "lamb": lambda momentum, by, options: LayerLamb(*by, **options),
    # arXiv:2502.16982
    "muon": lambda momentum, by, options: LayerMuon(
        *by, adam_beta_1=BETA_1, adam_beta_2=BETA_2, weight_decay=None, adam_weight_decay=None, **options
    ),
}
