"""Training batches of records that lie there: one shuffled and augmented pass after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cnn_app.data import pipeline

if TYPE_CHECKING:
    from cnn_app.data.dataset import Split
    from cnn_app.recipe import Schedule
    from cnn_app.tasks import Task
    from cnn_app.tensors import Arrays


class Passes:
    """Order and augmentation are functions of seed, epoch and step, so that there is no state to keep."""

    acts = False

    def __init__(self, task: Task, split: Split, schedule: Schedule):
        self.task, self.split, self.schedule = task, split, schedule
        self.steps = pipeline.steps_per_epoch(split, schedule.batch)

    def batches(self, epoch: int, skip: int = 0) -> Iterator[tuple[Arrays, Arrays]]:
        sampled = {name for column in self.split.columns.values() for name in column.sampled}
        return self._batches(epoch, skip, tuple(name for name in self.schedule.augment if name not in sampled))

    def first(self) -> tuple[Arrays, Arrays]:
        return next(self._batches(0, 0, (), sample=False))

    def state(self) -> Arrays:
        return {}

    def restore(self, state: Arrays) -> None:
        """Nothing but the place in a pass matters."""

    def _batches(self, epoch: int, skip: int, names: tuple[str, ...], sample: bool = True):
        schedule = self.schedule
        return pipeline.training_batches(
            self.split, schedule.batch,
            lambda inputs, targets, seed: self.task.augmented(inputs, targets, seed, names),
            seed=schedule.seed, epoch=epoch, skip=skip, sample=sample,
        ).as_numpy_iterator()  # fmt: skip
