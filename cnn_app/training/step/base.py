"""What the steps of all backends share: losses and metrics that are read together, and variables by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from cnn_app.errors import TrainingError
from cnn_app.runtimes.keras_model import fed
from cnn_app.tasks.probabilities import main
from cnn_app.tensors import Arrays
from cnn_app.training.distillation import ANSWER
from cnn_app.training.step.devices import Devices
from cnn_app.training.step.twin import FULL, twin

SLOT, AVERAGE = "optimizer/", "average/"  # in front of the names of the optimizer's variables, and of averages
BATCHES = f"{AVERAGE}batches"  # or parts of some, in the averages
ITERATION = f"{SLOT}iteration"  # the optimizer's count of steps
ACCUMULATED = "gradient_accumulator"  # in the names of its sums of gradients


@dataclass(frozen=True)
class Aim:
    """objective(outputs, targets): losses (b,); metrics(outputs, targets): name -> (b,); given(inputs, targets): the
    tensors that the model takes; teacher: whose answers are told among the targets.
    """

    objective: Callable
    metrics: Callable
    given: Callable
    teacher: keras.Model | None = None


class OutOfMemory(TrainingError):
    def __init__(self, batch: int):
        super().__init__(f"a batch of {batch} does not fit the memory of the device; lower --batch")
        self.batch = batch


class Base:
    """Trains `model`, or a twin of it, whose weights or their averages it gets by `sync`."""

    def __init__(self, model: keras.Model, optimizer: Callable[[], keras.Optimizer], aim: Aim, ema: float,
                 precision: str, devices: Devices, parts: int):  # fmt: skip
        self.model, self.optimizer, self.aim, self.ema, self.devices = model, optimizer(), aim, ema, devices
        self.parts = parts
        self.trained = twin(model, precision) if ema or devices or precision != FULL else model
        self.optimizer.build(self.trained.trainable_variables)
        weights = self.trained.weights if ema else []
        self.averages = [keras.Variable(np.array(weight), trainable=False, name="average") for weight in weights]
        self.batches = keras.Variable(0, trainable=False, dtype="int32", name="batches")  # that are in the averages
        self.variables = named(self.trained, self.optimizer)
        if ema:
            self.variables |= {
                f"{AVERAGE}{weight.path}": one for weight, one in zip(weights, self.averages, strict=True)
            }
            self.variables[BATCHES] = self.batches
        self.names: tuple[str, ...] = ()
        self.batch = 0  # of the last step
        self.unread: list[Any] = []  # of each step the values of `names`, on the device

    def train(self, inputs: dict, targets: dict, rate: float) -> None:
        self.batch = len(next(iter(inputs.values())))
        self.unread.append(self._on_device(self._take, inputs, targets, rate))

    def read(self) -> list[dict[str, float]]:
        unread, self.unread = self.unread, []
        rows = self._on_device(self._rows, unread)
        return [dict(zip(self.names, map(float, row), strict=True)) for row in rows]

    def state(self) -> Arrays:
        self.sync()
        return {name: np.array(variable) for name, variable in self.variables.items()}

    def restore(self, arrays: Arrays) -> None:
        for name, variable in self.variables.items():
            if name in arrays:
                variable.assign(arrays[name])
        self.sync()

    def sync(self) -> None:
        if self.trained is not self.model:
            for weight, value in zip(self.model.weights, self.averages or self.trained.weights, strict=True):
                weight.assign(ops.copy(value))  # what runs the model may take over its memory

    def _given(self, inputs: dict, targets: dict):
        return fed(self.trained, self.aim.given(inputs, targets))

    def _taught(self, inputs: dict, targets: dict, answer: Callable) -> dict:
        """Targets with what the teacher answers; answer(what it takes): its outputs."""
        teacher = self.aim.teacher
        if teacher is None:
            return targets
        return targets | {ANSWER: main(answer(fed(teacher, self.aim.given(inputs, targets))))}

    def _loss(self, outputs, targets):
        return ops.mean(self.aim.objective(outputs, targets))

    def _told(self, loss, outputs, targets):
        """What `unread` is of."""
        means = {"loss": loss} | {name: ops.mean(each) for name, each in self.aim.metrics(outputs, targets).items()}
        self.names = tuple(means)
        return ops.stack([ops.cast(mean, "float32") for mean in means.values()])

    def _averaged(self, batches, averages: Iterable, weights: Iterable) -> list:
        """Averages after so many batches: young ones follow faster, as the first weights are random."""
        known = ops.cast(batches, "float32") / self.parts
        share = ops.where(batches % self.parts == 0, 1 - ops.minimum(self.ema, (1 + known) / (10 + known)), 0.0)
        return [average + (weight - average) * share for average, weight in zip(averages, weights, strict=True)]

    def _on_device(self, work: Callable, *arguments):
        try:
            return work(*arguments)
        except Exception as error:
            if self._of_memory(error):
                raise OutOfMemory(self.batch) from error
            raise

    def _of_memory(self, error: Exception) -> bool:
        """Whether the device had not enough of it."""
        raise NotImplementedError

    def _take(self, inputs: dict, targets: dict, rate: float) -> Any:
        """One step; what `unread` is of, on the device."""
        raise NotImplementedError

    def _rows(self, unread: list) -> Iterable:
        raise NotImplementedError


def named(model: keras.Model, optimizer: keras.Optimizer) -> dict[str, keras.Variable]:
    """Weights, seed generators and slots, in an order that building alone determines; names that no process changes.

    Those that Keras numbers as they are made, seed generators and optimizers, give way to the layer's, or to none.
    """
    found: dict[str, keras.Variable] = {}
    weights = {id(weight) for weight in model.weights}
    layers = {id(variable): layer.name for layer in model.layers for variable in layer.variables}
    for variable in model.variables:
        path = variable.path if id(variable) in weights else f"{layers[id(variable)]}/{variable.name}"
        _add(found, f"model/{path}", variable)
    for variable in optimizer.variables:
        _add(found, f"{SLOT}{variable.path.partition('/')[2]}", variable)
    return found


def _add(found: dict, name: str, variable: keras.Variable) -> None:
    """Networks of others may have several of one path."""
    alike = sum(known.partition("#")[0] == name for known in found) if name in found else 0
    found[f"{name}#{alike}" if alike else name] = variable
