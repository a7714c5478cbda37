"""Who learns when, and how fast: layers that are frozen for some epochs, and rates that differ by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Phase:
    """From `epoch` (the first is 0) on, the layers named in `frozen` stay as they are, batch statistics included."""

    epoch: int = 0
    frozen: frozenset[str] = frozenset()


@dataclass(frozen=True)
class FreezeSchedule:
    phases: tuple[Phase, ...] = (Phase(),)  # in order of their epochs, the first at 0
    factors: Mapping[str, float] = field(default_factory=dict)  # layer name -> of the learning rate; others 1

    def phase(self, epoch: int) -> Phase:
        """The one that holds in `epoch`."""
        return [phase for phase in self.phases if phase.epoch <= epoch][-1]

    def since(self, epoch: int) -> dict[str, int]:
        """For layers that were frozen before and learn in `epoch`, the epoch since which they do."""
        found: dict[str, int] = {}
        for before, phase in pairwise(phase for phase in self.phases if phase.epoch <= epoch):
            found |= dict.fromkeys(before.frozen - phase.frozen, phase.epoch)
        return found


PLAIN = FreezeSchedule()  # everything learns, all the time, at one rate


def constant(model: keras.Model) -> FreezeSchedule:
    """Everything learns but what was built not to, such as a table of given word vectors."""
    fixed = frozenset(layer.name for layer in model.layers if layer.weights and not layer.trainable)
    return FreezeSchedule((Phase(0, fixed),)) if fixed else PLAIN


def enter(model: keras.Model, phase: Phase) -> None:
    """Freeze what `phase` freezes, and nothing else. The model has to be compiled anew."""
    for layer in model.layers:
        layer.trainable = layer.name not in phase.frozen


def learns(model: keras.Model, phase: Phase) -> tuple[int, list[str]]:
    """How many weights, and the names of which layers, learn in `phase`."""
    enter(model, phase)
    layers = [layer for layer in model.layers if layer.trainable_weights]
    return sum(layer.count_params() for layer in layers), [layer.name for layer in layers]
