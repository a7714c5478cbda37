"""One step of the optimizer, on the backend that Keras runs on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import keras

from cnn_app.training.step.base import Aim, OutOfMemory
from cnn_app.training.step.devices import Devices
from cnn_app.training.step.divided import Divided
from cnn_app.training.step.twin import FULL

if TYPE_CHECKING:
    from cnn_app.tensors import Arrays


class Stepper(Protocol):
    """Trains a model. What it computes stays on the device until it is asked for. What does not fit there is told by
    OutOfMemory when a step is taken, or when it is read.
    """

    def train(self, inputs: dict, targets: dict, rate: float) -> None: ...  # one step with this learning rate
    def read(self) -> list[dict[str, float]]: ...  # loss and metrics of each batch since it was read last, in order
    def sync(self) -> None: ...  # the model has the weights of now; until it was called it may have none
    def state(self) -> Arrays: ...  # all that a step changes, by name
    def restore(self, arrays: Arrays) -> None: ...  # what is named in it, and nothing else


def stepper(
    model: keras.Model, optimizer: Callable[[], keras.Optimizer], aim: Aim, *, ema: float = 0.0, precision: str = FULL,
    devices: Devices = (), parts: int = 1,
) -> Stepper:  # fmt: skip
    """ema: what averages of the weights, which `sync` then gives to the model, keep of themselves at a step.
    devices: those that share a batch; none: the backend's own.
    parts: of a batch; the optimizer has to take so many for one step.
    """
    if keras.backend.backend() == "jax":
        from cnn_app.training.step.jax import JaxStepper as Kind
    else:
        from cnn_app.training.step.tensorflow import TensorFlowStepper as Kind
    whole = Kind(model, optimizer, aim, ema, precision, devices, parts)
    return Divided(whole, parts) if parts > 1 else whole


__all__ = ["Aim", "OutOfMemory", "Stepper", "stepper"]
