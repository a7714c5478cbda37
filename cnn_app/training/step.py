"""One optimizer step as one graph, without XLA: on a CPU it would cost twenty times as much."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf
from keras import ops

from cnn_app.runtimes.keras_model import fed


class Stepper:
    """Trains `model` in place. objective(outputs, targets): losses (b,); metrics(outputs, targets): name -> (b,).

    given(inputs, targets): the tensors that the model takes.
    """

    def __init__(self, model: keras.Model, optimizer: keras.Optimizer, objective: Callable, metrics: Callable,
                 given: Callable):  # fmt: skip
        self.model, self.optimizer, self.objective, self.metrics = model, optimizer, objective, metrics
        self.given = given
        optimizer.build(model.trainable_variables)
        self._step = tf.function(self._trained, reduce_retracing=True, jit_compile=False)

    def train(self, inputs: dict, targets: dict, rate: float) -> dict[str, float]:
        """One step with learning rate `rate`; the loss and the metrics of the batch before it."""
        self.optimizer.learning_rate = rate
        return {name: float(value) for name, value in self._step(inputs, targets).items()}

    def _trained(self, inputs: dict, targets: dict) -> dict:
        weights = self.model.trainable_weights
        with tf.GradientTape() as tape:
            outputs = self.model(fed(self.model, self.given(inputs, targets)), training=True)
            loss = ops.mean(self.objective(outputs, targets))
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return {"loss": loss} | {name: ops.mean(values) for name, values in self.metrics(outputs, targets).items()}

    @property
    def variables(self) -> list:
        """Weights, seed generators and optimizer slots, in an order that building alone determines."""
        return [*self.model.variables, *self.optimizer.variables]
