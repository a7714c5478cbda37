"""What answers, and what it is for. Keras is needed for its own models alone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Union

from cnn_app import inputs, registry, tasks
from cnn_app.errors import ModelError
from cnn_app.runtimes import Runtime, open_foreign
from cnn_app.tasks import Task

if TYPE_CHECKING:
    import keras

Artifact = Union[str, os.PathLike[str], "keras.Model"]


def opened_as(artifact: Artifact, trust: bool = False) -> tuple[Runtime, Task]:
    """A runtime and what it is for, as far as it says itself."""
    if isinstance(artifact, str | os.PathLike):
        return tasks.opened(open_foreign(artifact, trust=trust))
    from cnn_app.runtimes.keras_model import KerasRuntime

    task = task_of(artifact)
    return KerasRuntime(task.deployed(artifact), getattr(artifact, "about", None)), task


def task_of(model: keras.Model) -> Task:
    """Of a Keras model: as its file said, or else by its network's row."""
    about = getattr(model, "about", None)
    if about is not None:
        return tasks.of_facts(about.facts())
    if model.name in registry.catalog():
        row = registry.family(model.name).VARIANTS[model.name]
        if row.input == "image":
            taken = inputs.named("image")(tuple(model.input_shape[1:]), **getattr(model, "resizing", {}))
            return tasks.named(row.task)(input=taken)
    raise ModelError(f"{model.name} does not say what it is for; load it with cnn_app.load_model")
