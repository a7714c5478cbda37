"""What a run tries by itself before it gives up: half the rate where it diverged, batches in parts where they are too
large for the memory. It goes on from its last checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from cnn_app.errors import TrainingError
from cnn_app.recipe import Schedule
from cnn_app.tensors import Arrays
from cnn_app.training.checkpoint import Position, Saved
from cnn_app.training.step import OutOfMemory
from cnn_app.training.step.base import ACCUMULATED, BATCHES, ITERATION
from cnn_app.training.step.devices import Devices, Machines

HALVINGS = 2  # of the rate, in a run


class Diverged(TrainingError):
    """What `position` had learned is worth nothing since `back`, such as -1 for its last step."""

    def __init__(self, what: str, position: Position, back: int, rate: float):
        kept = f"the checkpoint of epoch {position.best_epoch} is kept"
        kept = kept if position.best else "no checkpoint was kept yet"
        self.at = f"{what} at step {position.step + back + 1} with learning rate {rate:.3g}"
        super().__init__(f"{self.at}; lower --lr or lengthen --warmup; {kept}")


def finite(variables: Arrays, schedule: Schedule, position: Position, steps: int) -> Arrays:
    """All that a run learned. Raises Diverged where that is no numbers any more."""
    for name, array in variables.items():
        if not (array.dtype.kind in "iub" or np.isfinite(array).all()):
            raise Diverged(f"{name} is no number any more", position, -1, position.rate(schedule, steps, -1))
    return variables


def tried(
    error: Diverged | OutOfMemory, position: Position, schedule: Schedule, devices: Devices
) -> tuple[str, Callable[[Saved], Saved]]:
    """What is done about an error, for people, and to a checkpoint. Raises the error where nothing is left to do."""
    if isinstance(error, Diverged):
        if position.halved == HALVINGS:
            raise error
        halved = position.halved + 1
        return f"{error.at}: going on at half the rate", lambda saved: _changed(saved, halved, position.parts)
    parts = position.parts * 2
    alone = isinstance(devices, Machines)  # other machines would not know of it
    if alone or error.batch % (parts * max(1, len(devices))):
        raise error
    told = (
        f"a batch of {error.batch} does not fit the memory: it goes in {parts} parts now, whose gradients are one step"
    )
    told += f", as with --batch {error.batch // parts} --accumulate {schedule.accumulate * parts}"
    return told, lambda saved: _changed(saved, position.halved, parts)


def _changed(saved: Saved, halved: int, parts: int) -> Saved:
    """With the counts and sums of an optimizer that takes so many parts a batch."""
    times, variables = parts // saved.position.parts, dict(saved.variables)
    for name, array in saved.variables.items():
        if name in (ITERATION, BATCHES) or ACCUMULATED in name:
            variables[name] = array * array.dtype.type(times)
    return replace(saved, position=replace(saved.position, halved=halved, parts=parts), variables=variables)
