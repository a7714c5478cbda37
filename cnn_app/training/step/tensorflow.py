"""A step as one graph, without XLA: on a CPU it would cost twenty times as much."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import tensorflow as tf

from cnn_app.errors import TrainingError
from cnn_app.training.step.base import Base
from cnn_app.training.step.devices import Devices, Machines, check_batch


def _strategy(devices: Devices) -> tf.distribute.Strategy:
    return devices.strategy if isinstance(devices, Machines) else tf.distribute.MirroredStrategy(list(devices))


class TensorFlowStepper(Base):
    """Of several devices each takes a part of the batch; gradients are added before anything is made of them."""

    def __init__(self, model, optimizer, aim, ema, precision, devices, parts):
        self._strategy = _strategy(devices) if devices else None
        with self._strategy.scope() if self._strategy else nullcontext():
            super().__init__(model, optimizer, aim, ema, precision, devices, parts)
        self._rate: tuple = (None, None)  # a number, and it as a tensor
        self._step = tf.function(self._stepped, reduce_retracing=True, jit_compile=False)
        self._together = not isinstance(devices, Machines)  # whether all are known to stand at one step

    def _take(self, inputs: dict, targets: dict, rate: float):
        if rate != self._rate[0]:
            self._rate = rate, tf.constant(rate, tf.float32)
        if self._strategy:
            inputs, targets = self._divided(inputs), self._divided(targets)
        try:
            if not self._together:
                self._check_together()
            return self._step(inputs, targets, self._rate[1])
        except tf.errors.OpError as error:
            if isinstance(self.devices, Machines) and not self._of_memory(error):
                raise TrainingError(f"{self.devices.cluster.lost()} is gone; start all workers again with --resume, "
                                    "and the run goes on from its last checkpoint") from error  # fmt: skip
            raise

    def _of_memory(self, error: Exception) -> bool:
        return isinstance(error, tf.errors.ResourceExhaustedError)

    def _check_together(self) -> None:
        """Machines of which some go on and some begin would add up gradients of different weights."""
        step = float(self.optimizer.iterations.numpy())
        each = self._strategy.experimental_distribute_values_from_function(lambda context: tf.constant(step))
        if float(self._strategy.reduce(tf.distribute.ReduceOp.MEAN, each, axis=None)) != step:
            raise TrainingError(
                f"the machines stand at different steps, this one at {step:.0f}; give all of them the same command, "
                "with --resume or without, and a model directory that all of them see"
            )
        self._together = True

    def _divided(self, arrays: dict):
        check_batch(len(next(iter(arrays.values()))), self.devices)
        parts = {name: np.split(np.asarray(array), len(self.devices)) for name, array in arrays.items()}
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: {name: part[context.replica_id_in_sync_group] for name, part in parts.items()}
        )

    def _stepped(self, inputs: dict, targets: dict, rate):
        self.optimizer.learning_rate.assign(rate)
        if self._strategy:
            each = self._strategy.run(self._trained, (inputs, targets))
            told = self._strategy.reduce(tf.distribute.ReduceOp.MEAN, each, axis=None)
        else:
            told = self._trained(inputs, targets)
        if self.ema:
            self.batches.assign_add(1)
            averages = self._averaged(self.batches, self.averages, self.trained.weights)
            for average, value in zip(self.averages, averages, strict=True):
                average.assign(value)
        return told

    def _trained(self, inputs: dict, targets: dict):
        weights = self.trained.trainable_variables
        targets = self._taught(inputs, targets, lambda given: self.aim.teacher(given, training=False))
        with tf.GradientTape() as tape:
            outputs = self.trained(self._given(inputs, targets), training=True)
            loss = self._loss(outputs, targets)
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, weights)
        if self._strategy:
            context = tf.distribute.get_replica_context()
            gradients = context.all_reduce(tf.distribute.ReduceOp.MEAN, gradients)
        self.optimizer.apply(gradients, weights)
        return self._told(loss, outputs, targets)

    def _rows(self, unread: list):
        return tf.stack(unread).numpy() if unread else ()
