"""A step whose batch goes through the network part by part, for it is too large for the memory as one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from cnn_app.training.step.base import OutOfMemory

if TYPE_CHECKING:
    from cnn_app.tensors import Arrays
    from cnn_app.training.step import Stepper


class Divided:
    """Steps of `whole`, whose optimizer takes as many batches for one step as there are parts of one here."""

    def __init__(self, whole: Stepper, parts: int):
        self._whole, self._parts = whole, parts
        self.sync, self.state, self.restore = whole.sync, whole.state, whole.restore

    def train(self, inputs: dict, targets: dict, rate: float) -> None:
        parted = [_parted(arrays, self._parts) for arrays in (inputs, targets)]
        try:
            for part in zip(*parted, strict=True):
                self._whole.train(*part, rate)
        except OutOfMemory as error:
            raise OutOfMemory(error.batch * self._parts) from error

    def read(self) -> list[dict[str, float]]:
        rows = self._whole.read()
        groups = (rows[at : at + self._parts] for at in range(0, len(rows), self._parts))
        return [{name: float(np.mean([row[name] for row in group])) for name in group[0]} for group in groups]


def _parted(arrays: Arrays, parts: int) -> Iterable[Arrays]:
    split = {name: np.split(array, parts) for name, array in arrays.items()}
    return ({name: split[name][place] for name in split} for place in range(parts))
