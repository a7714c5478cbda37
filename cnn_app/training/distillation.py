"""A network that learns what another answers, beside what is true (Hinton et al., arXiv:1503.02531, section 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

    from cnn_app.recipe import Distillation
    from cnn_app.tasks import Task

ANSWER = "answer_of_teacher"  # of targets: its logits


@dataclass(frozen=True)
class Teacher:
    model: keras.Model
    options: Distillation
    digest: str = ""  # of its file


def objective(task: Task, of_truth: Callable, teacher: Teacher) -> Callable:
    """Losses (b,) of targets with the teacher's answers in them."""

    def losses(outputs, targets):
        of_answers = task.imitated(outputs, targets, targets[ANSWER], teacher.options.temperature)
        share = teacher.options.share
        return (1 - share) * of_truth(outputs, targets) + share * of_answers

    return losses
