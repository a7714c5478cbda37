"""What training will see of data, as a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from cnn_app import registry, tasks
from cnn_app.data import Records, pipeline
from cnn_app.errors import DataError
from cnn_app.jobs import sources
from cnn_app.jobs.train import with_known_augmentations
from cnn_app.recipe import Data, Schedule
from cnn_app.tasks.drawing import draw_sheet

VERSIONS = 4  # changed images of each record


def show(
    name: str, data: str | Data | Records, out: str | os.PathLike[str], *, columns: Mapping | None = None,
    options: Mapping | None = None, schedule: Schedule | None = None, n: int = 24,
    progress: pipeline.Progress | None = None,
) -> Schedule:  # fmt: skip
    """Draw training records into the PNG `out`, a row each: as they are, then four times as the schedule changes them.

    name: the network that is to see them; its row, with `columns` in it, has the size and the task.
    options: of the task, such as {"name": "multilabel"}.
    n: changed images, rounded up to whole rows. Records are drawn by the schedule's seed, classes as evenly as can be.

    The schedule is returned with the augmentations that the task knows. Raises DataError where records are no images.
    """
    task = tasks.of_row(registry.spec(name, **(columns or {})), options or {}, {})
    if not task.input.pictured:
        raise DataError(f"{name} takes {task.input.plural}, which are not drawn; give a network for images")
    schedule, data = with_known_augmentations(task, schedule or Schedule()), sources.data_of(data)
    dataset = task.load(data)
    task = task.fitted(dataset)
    train = dataset.splits["train"]
    few = train.take(pipeline.stratified(task.strata(train), -(-n // VERSIONS), schedule.seed))
    split = sources.prepared(task, replace(dataset, splits={"train": few}), data, progress).splits["train"]
    inputs, targets = next(iter(pipeline.batches(split, len(split))))
    versions = []
    for number in range(1 + VERSIONS):
        changed = task.augmented(inputs, targets, (schedule.seed, number), schedule.augment if number else ())
        halves = [{key: tensor.numpy() for key, tensor in half.items()} for half in changed]
        versions.append([
            task.shown(*({key: array[i] for key, array in half.items()} for half in halves)) for i in range(len(split))
        ])  # fmt: skip
    size = "x".join(map(str, task.input.shape))
    title = f"{dataset.source} for {name} ({size}): {', '.join(schedule.augment) or 'no augmentation'}"
    draw_sheet(list(zip(*versions, strict=True)), split.names, title, task.key, out)
    return schedule
