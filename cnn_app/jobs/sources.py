"""Data for a job: what was asked for, as records that a task can use."""

from __future__ import annotations

from cnn_app import tasks
from cnn_app.artifacts import ModelDir
from cnn_app.data import Records, pipeline
from cnn_app.data.dataset import Dataset
from cnn_app.errors import DataError
from cnn_app.recipe import Data
from cnn_app.tasks import Task


def data_of(data: str | Data | Records) -> Data | Records:
    return Data(source=data) if isinstance(data, str) else data


def told(data: Data | Records) -> Data:
    """What a card says of it."""
    return Data(source="arrays") if isinstance(data, Records) else data


def prepared(task: Task, dataset: Dataset, data: Data | Records, progress: pipeline.Progress | None = None) -> Dataset:
    """Records as the task's network takes them, each split read when it is asked for."""
    skip = told(data).on_bad_image == "skip"
    return pipeline.prepare(dataset, task.converters(), skip_bad=skip, progress=progress)


def for_model(
    directory: ModelDir, data: str | Data | Records | None, progress: pipeline.Progress | None = None
) -> tuple[Task, Dataset]:
    """The task of a model, and the records given, or those it was trained on, in the model's order of classes."""
    from cnn_app.runtimes.keras_model import about_of

    task = tasks.of_facts(about_of(directory.path).facts())
    data = trained_on(directory) if data is None else data_of(data)
    dataset = task.in_order(task.load(data), task.labels)
    return task, prepared(task, dataset, data, progress)


def trained_on(directory: ModelDir) -> Data:
    """The data that the card of a model names."""
    known = directory.read_card().data
    if "source" not in known or known["source"] == "arrays":
        raise DataError(f"{directory.card} does not name the data it was trained on; give --data")
    fields = ("source", "directory", "on_bad_image", "encoding")
    return Data(**{name: known[name] for name in fields if name in known})
