"""What most tasks have in common: nothing is learned from val, nothing is a map, and networks take their inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

if TYPE_CHECKING:
    import keras

    from cnn_app.runtimes import Runtime
    from cnn_app.tensors import Arrays


class Base:
    """Defaults of `tasks.Task`."""

    learned: ClassVar[tuple[str, ...]] = ()
    is_map: ClassVar[bool] = False
    tuning: ClassVar[Mapping[str, Any]] = {}
    tuning_steps: ClassVar = 0

    def fed(self, inputs: dict, targets: dict) -> dict:
        return inputs

    def right(self, outputs: Arrays, targets: Arrays) -> np.ndarray | None:
        return None

    def settled(self, report: Any) -> Self:
        return self

    def measured(self, runtime: Runtime) -> Runtime:
        return runtime

    def parts(self, model: keras.Model) -> dict[str, keras.Model]:
        return {}

    def placed(self, outputs: Arrays, encoded: Iterable[bytes]) -> Arrays:
        return outputs

    def places(self, outputs: Arrays) -> np.ndarray:
        raise NotImplementedError  # it is no map of classes

    def of_places(self, places: np.ndarray, top: int) -> dict:
        raise NotImplementedError
