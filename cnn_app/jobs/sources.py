"""Data for a job: what was asked for, as records that a task can use."""

from __future__ import annotations

import os
from dataclasses import replace

from cnn_app import tasks
from cnn_app.artifacts import ModelDir
from cnn_app.data import Records, division, packs, pipeline, told
from cnn_app.data.dataset import Dataset
from cnn_app.errors import DataError
from cnn_app.recipe import Data
from cnn_app.runtimes.about import About
from cnn_app.tasks import Task


def data_of(data: str | Data | Records) -> Data | Records:
    return Data(source=data) if isinstance(data, str) else data


def divided_as(data: Data | Records, *abouts: About | None) -> Data | Records:
    """`data` divided as those that models learned from, where nobody said how: what they learned must not test them."""
    if isinstance(data, Records) or data.split or data.split_seed:
        return data
    return replace(data, **next(filter(None, map(rule_of, abouts)), {}))


def rule_of(about: About | None) -> dict:
    """How a model's data were divided, as fields of Data: by 0.1.0 where it does not say, and nothing of others'."""
    if about is None or not about.data_sha256:
        return {}
    return division.as_given(about.split or {"rule": "name"})


def resumed(data: str | Data | Records, directory: ModelDir, resume: bool) -> Data | Records:
    """The data of a run, divided as they were when it was stopped."""
    from cnn_app.runtimes.keras_model import about_of

    known = about_of(directory.path) if resume and directory.card.is_file() else None
    return divided_as(data_of(data), known)


def check_table(directory: ModelDir, data: Data | Records, dataset: Dataset) -> None:
    """Raise DataError where the table by which a model's folder was divided is there no more."""
    if told(data).split or dataset.division["rule"] == "file":
        return
    known = directory.read_card().data
    same = os.path.realpath(str(known.get("source"))) == os.path.realpath(dataset.source)
    if same and (known.get("split") or {}).get("rule") == "file":
        raise DataError(f"{directory.path} was trained by {dataset.source}/{division.TABLE}, which is gone; copy "
                        f"{directory.splits} there, or say how to divide")  # fmt: skip


def prepared(
    task: Task, dataset: Dataset, data: Data | Records, progress: pipeline.Progress | None = None,
    augment: tuple[str, ...] = (),
) -> Dataset:  # fmt: skip
    """Records as the task's network takes them, each split read when it is asked for; train as it is augmented."""
    packs.fitting(told(data).source, task.input.facts())
    skip, samplers = told(data).on_bad_image == "skip", task.samplers(augment)
    return pipeline.prepare(dataset, task.converters(), samplers=samplers, skip_bad=skip, progress=progress)


def for_model(
    directory: ModelDir, data: str | Data | Records | None, progress: pipeline.Progress | None = None
) -> tuple[Task, Dataset]:
    """The task of a model, and the records given, or those it was trained on, in the model's order of classes."""
    from cnn_app.runtimes.keras_model import about_of

    about = about_of(directory.path)
    task = tasks.of_facts(about.facts())
    data = divided_as(trained_on(directory) if data is None else data_of(data), about)
    dataset = task.in_order(task.load(data), task.labels)
    check_table(directory, data, dataset)
    return task, prepared(task, dataset, data, progress)


def trained_on(directory: ModelDir) -> Data:
    """The data that the card of a model names."""
    known = directory.read_card().data
    if "source" not in known or known["source"] == "arrays":
        raise DataError(f"{directory.card} does not name the data it was trained on; give --data")
    fields = ("source", "directory", "on_bad_image", "encoding")
    return Data(**{name: known[name] for name in fields if name in known})
