"""What is so for most tasks; each says where it is otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from cnn_app import heads
from cnn_app.inputs import Input

if TYPE_CHECKING:
    import keras

    from cnn_app.data.dataset import Dataset, Split
    from cnn_app.data.pipeline import Samplers
    from cnn_app.recipe import Schedule
    from cnn_app.runtimes import Runtime
    from cnn_app.tasks import Stream
    from cnn_app.tensors import Arrays


@dataclass(frozen=True, kw_only=True)
class Base:
    input: Input
    labels: tuple[str, ...] = ()

    name: ClassVar[str]  # the task's, and its head's
    labelled: ClassVar = True
    relative: ClassVar = False
    probed: ClassVar = False
    taught: ClassVar = False
    familiar: ClassVar[Any] = False
    is_map: ClassVar = False
    in_float: ClassVar[tuple[str, ...]] = ()
    learned: ClassVar[tuple[str, ...]] = ()
    tuning: ClassVar[Mapping[str, Any]] = {}
    tuning_steps: ClassVar = 0
    views: ClassVar[Any] = ()

    @property
    def head(self) -> str:
        return self.name

    @property
    def key(self) -> dict[str, str]:
        return {}

    # --- data

    def fitted(self, dataset: Dataset) -> Self:
        return replace(self, labels=dataset.labels, input=self.input.fitted(dataset.splits["train"]))

    def samplers(self, names: tuple[str, ...]) -> Samplers:
        return self.input.samplers(names)

    def strata(self, split: Split) -> np.ndarray:
        return np.zeros(len(split), int)

    # --- training

    def columns(self) -> dict:
        return self.input.columns()

    def imitated(self, outputs, targets, wanted, temperature: float):
        raise NotImplementedError  # it is not `taught`

    def fed(self, inputs: dict, targets: dict) -> dict:
        return inputs

    def stream(self, model: keras.Model, split: Split, schedule: Schedule) -> Stream:
        from cnn_app.tasks.passes import Passes

        return Passes(self, split, schedule)

    def calibration(self, model: keras.Model, split: Split, count: int) -> Arrays:
        """Records of a prepared split, evenly by its strata."""
        from cnn_app.data import pipeline

        return pipeline.sample(split, self.strata(split), count)[0]

    def measured(self, runtime: Runtime) -> Runtime:
        return runtime

    def right(self, outputs: Arrays, targets: Arrays) -> np.ndarray | None:
        return None

    def settled(self, report: Any) -> Self:
        return self

    # --- answers

    def deployed(self, model: keras.Model) -> keras.Model:
        return heads.named(self.name).deployed(model)

    def parts(self, model: keras.Model) -> dict[str, keras.Model]:
        return {}

    def placed(self, outputs: Arrays, encoded: Iterable[bytes]) -> Arrays:
        return outputs

    def reordered(self, outputs: Arrays, places: list[int]) -> Arrays:
        return outputs

    def places(self, outputs: Arrays) -> np.ndarray:
        raise NotImplementedError  # it is no map

    def of_places(self, places: np.ndarray, top: int) -> dict:
        raise NotImplementedError
