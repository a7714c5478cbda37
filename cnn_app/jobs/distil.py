"""A job that has a teacher: which may teach it, and what that is as a value of training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_app import tasks
from cnn_app.artifacts import ModelDir, is_model, sha256
from cnn_app.errors import ModelError, TrainingError
from cnn_app.recipe import Distillation
from cnn_app.runtimes.keras_model import load
from cnn_app.training.distillation import Teacher

if TYPE_CHECKING:
    from cnn_app.jobs.train import Job


def taught(job: Job, distillation: Distillation | None) -> Job:
    """The job with a teacher, where there is one.

    Raises ModelError for a teacher of another task, other classes or other inputs, TrainingError for a task whose
    answers nobody can teach.
    """
    if distillation is None:
        return job
    path = Path(distillation.teacher)
    if not (is_model(path) and ModelDir(path).card.is_file()):
        raise ModelError(f"a teacher is a model directory; there is none at {path}")
    task = tasks.of_card(ModelDir(path).read_card())
    for what, theirs, ours in (
        ("task", task.name, job.task.name),
        ("classes", task.labels, job.task.labels),
        ("input", task.input.columns() | task.input.facts(), job.task.input.columns() | job.task.input.facts()),
    ):
        if theirs != ours:
            raise ModelError(f"the teacher at {path} has another {what}: {theirs!s:.200}; this network {ours!s:.200}")
    if not task.taught:
        raise TrainingError(f"{task.name} has no scores alone that a teacher could tell; train without one")
    return replace(job, teacher=Teacher(load(path), distillation, sha256(ModelDir(path).model)))
