"""A step as one compiled function of all variables, whose memory it takes over."""

from __future__ import annotations

import jax
import keras
import numpy as np
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cnn_app.training.step.base import Base
from cnn_app.training.step.devices import Machines, check_batch


class JaxStepper(Base):
    """Between two steps the values are here alone; `sync` gives them to their variables."""

    def __init__(self, *parts):
        super().__init__(*parts)
        model, slots = self.trained, self.optimizer.variables
        self._rate = next(i for i, one in enumerate(slots) if one is self.optimizer.learning_rate)
        self._groups = model.trainable_variables, model.non_trainable_variables, slots, self.averages, [self.batches]
        own = [id(variable) for variable in (*self._groups[0], *self._groups[1])]
        self._weights = [own.index(id(weight)) for weight in model.weights] if self.ema else []
        self._values: list[list] | None = None  # of the groups; None: as the variables have them
        self._whole, self._parts = self._places()
        teacher = self.aim.teacher
        groups = (teacher.trainable_variables, teacher.non_trainable_variables) if teacher else ()
        self._teacher = [[variable.value for variable in group] for group in groups]
        if self.devices:
            self._teacher = jax.device_put(jax.device_get(self._teacher), self._whole)
        self._step = jax.jit(self._trained, donate_argnums=0, out_shardings=self._whole)

    def _take(self, inputs: dict, targets: dict, rate: float):
        if self._values is None:
            copies = [[jnp.array(variable.value, copy=True) for variable in group] for group in self._groups]
            self._values = copies  # a step takes over their memory, which variables may share
            if self.devices:
                self._values = jax.device_put(jax.device_get(self._values), self._whole)
        if self.devices:
            check_batch(len(next(iter(inputs.values()))), self.devices)
            inputs, targets = jax.tree.map(self._divided, (inputs, targets))
        self._values, told = self._step(self._values, self._teacher, inputs, targets, np.float32(rate))
        return told

    def _of_memory(self, error: Exception) -> bool:
        return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)

    def sync(self) -> None:
        for group, values in zip(self._groups, self._values or (), strict=False):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value.addressable_data(0) if self.devices else value)
        self._values = None
        super().sync()

    def _places(self) -> tuple:
        """How values lie on several devices that each has all of, and how batches that each has a part of."""
        if not self.devices:
            return None, None
        machines = isinstance(self.devices, Machines)
        places = range(len(self.devices)) if machines else [int(name.partition(":")[2]) for name in self.devices]
        mesh = Mesh([jax.devices()[place] for place in places], ("batch",))
        return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("batch"))

    def _divided(self, array):
        """The same on all machines, of which each takes what its devices are to have."""
        array = np.asarray(array)
        return jax.make_array_from_callback(array.shape, self._parts, lambda part: array[part])

    def restore(self, arrays) -> None:
        self.sync()
        super().restore(arrays)

    def _trained(self, values, teacher, inputs: dict, targets: dict, rate):
        trained, rest, slots, averages, (batches,) = values
        slots = [rate if i == self._rate else slot for i, slot in enumerate(slots)]
        targets = self._taught(
            inputs, targets, lambda given: self.aim.teacher.stateless_call(*teacher, given, training=False)[0]
        )
        forward = jax.value_and_grad(self._forward, has_aux=True)
        (_, (loss, outputs, rest)), gradients = forward(trained, rest, slots, inputs, targets)
        trained, slots = self.optimizer.stateless_apply(slots, gradients, trained)
        if self.ema:
            batches, own = batches + 1, [*trained, *rest]
            averages = self._averaged(batches, averages, [own[i] for i in self._weights])
        return [trained, rest, slots, averages, [batches]], self._told(loss, outputs, targets)

    def _forward(self, trained, rest, slots, inputs: dict, targets: dict):
        outputs, rest = self.trained.stateless_call(trained, rest, self._given(inputs, targets), training=True)
        loss = self._loss(outputs, targets)
        with keras.StatelessScope(zip(self.optimizer.variables, slots, strict=True)):
            return self.optimizer.scale_loss(loss), (loss, outputs, rest)

    def _rows(self, unread: list):
        return jax.device_get(unread)
