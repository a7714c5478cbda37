"""What is so for most inputs; each says where it is otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

if TYPE_CHECKING:
    import keras

    from cnn_app.data.dataset import Split
    from cnn_app.data.pipeline import Samplers
    from cnn_app.tensors import Arrays


class Base:
    unit: ClassVar[str] = ""
    augmentations: ClassVar[tuple[str, ...]] = ()
    usual: ClassVar[tuple[str, ...]] = ()
    views: ClassVar[tuple[str, ...]] = ()
    pictured: ClassVar[bool] = False
    familiar: ClassVar[bool] = False

    def fitted(self, split: Split) -> Self:
        return self

    def load(self, data: bytes, name: str) -> Arrays:
        raise NotImplementedError

    def parts(self, data: bytes, name: str) -> Arrays:
        return {key: np.asarray(array)[None] for key, array in self.load(data, name).items()}

    def picture(self, record: Arrays) -> np.ndarray | None:
        raise NotImplementedError  # it has none

    def widened(self, names: tuple[str, ...]) -> Any:
        raise NotImplementedError  # it has no views

    def windows(self, inputs: Arrays, names: tuple[str, ...]) -> Iterator[Arrays]:
        raise NotImplementedError

    def samplers(self, names: tuple[str, ...]) -> Samplers:
        return {}

    def augmented(self, inputs: dict, seed: tuple, names: tuple[str, ...]) -> dict:
        return inputs

    @property
    def resources(self) -> list:
        return []

    def set_weights(self, model: keras.Model, path: str) -> bool:
        return False

    def calibration(self, arrays: Arrays) -> Arrays:
        return arrays
