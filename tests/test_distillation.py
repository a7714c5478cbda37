"""Learning what another network answers: the loss by hand, one step, whole runs, and teachers that do not fit."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.special import expit, log_softmax, softmax
from test_steps import example

import cnn_app
from cnn_app.cli.main import cli
from cnn_app.data.dataset import Split, in_memory
from cnn_app.errors import RecipeError
from cnn_app.recipe import Distillation, Schedule
from cnn_app.training import engine
from cnn_app.training.distillation import Teacher

SCHEDULE = Schedule(epochs=1, batch=128, lr=0.003, augment=())


def divergence(ours, theirs):
    return (softmax(theirs, -1) * (log_softmax(theirs, -1) - log_softmax(ours, -1))).sum(-1)


def tasks_and_logits(network, kind=None, shape=(8, 3)):
    _, task, _, targets, _ = example(network, kind)
    ours, theirs = np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32) * 5
    return task, targets, ours, theirs


def test_classes_are_compared_as_softened_probabilities():
    task, targets, ours, theirs = tasks_and_logits("lenet5")
    found = np.array(task.imitated(ours, targets, theirs, 4.0))
    np.testing.assert_allclose(found, 16 * divergence(ours / 4, theirs / 4), rtol=1e-4)
    assert np.abs(task.imitated(theirs, targets, theirs, 4.0)).max() < 1e-5


def test_labels_are_compared_one_by_one():
    task, targets, ours, theirs = tasks_and_logits("lenet5", "multilabel")
    p, q = expit(theirs / 2), expit(ours / 2)
    wanted = 4 * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean(-1)
    np.testing.assert_allclose(np.array(task.imitated(ours, targets, theirs, 2.0)), wanted, rtol=1e-4)


def test_each_word_that_is_there_counts_as_much():
    task, targets, ours, theirs = tasks_and_logits("window_tagger", shape=(8, 12, 3))
    there = targets["tags"] >= 0
    assert not there.all()
    wanted = (divergence(ours, theirs) * there).sum(1) / there.sum(1)
    np.testing.assert_allclose(np.array(task.imitated(ours, targets, theirs, 1.0)), wanted, rtol=1e-4)


def test_each_pixel_counts_as_much():
    task, targets, ours, theirs = tasks_and_logits("unet", shape=(8, 4, 4, 3))
    wanted = divergence(ours, theirs).mean((1, 2))
    np.testing.assert_allclose(np.array(task.imitated(ours, targets, theirs, 1.0)), wanted, rtol=1e-4)


@pytest.mark.parametrize("share", (0.25, 1.0))
def test_a_step_loses_a_share_by_the_teacher(share):
    model, task, inputs, targets, known = example("lenet5")
    teacher = example("lenet5")[0]
    teacher.set_weights([-weight for weight in model.get_weights()])
    ours, theirs = (
        np.array(one(inputs["image"] if "image" in inputs else next(iter(inputs.values())))) for one in (model, teacher)
    )
    truth = -(targets["class"] * log_softmax(ours, -1)).sum(-1).mean()
    wanted = (1 - share) * truth + share * 9 * divergence(ours / 3, theirs / 3).mean()
    split = Split([""] * len(known["class"]), {}, {"class": in_memory(known["class"])})
    distillation = Distillation(teacher="", share=share, temperature=3.0)
    run = engine.stepper(model, task, split, SCHEDULE, teacher=Teacher(teacher, distillation))
    before = teacher.get_weights()
    run.train(inputs, targets, 0.1)
    assert run.read()[0]["loss"] == pytest.approx(wanted, rel=1e-4)
    for weight, old in zip(teacher.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    out = tmp_path_factory.mktemp("teacher") / "digits"
    cnn_app.train("lenet5", "digits", out, schedule=replace(SCHEDULE, epochs=2))
    return out


def test_a_student_of_answers_alone_answers_as_its_teacher(teacher, tmp_path):
    """Its card says of whom it learned."""
    distillation = Distillation(teacher=str(teacher), share=1.0)
    card = cnn_app.train("lenet5", "digits", tmp_path / "student", schedule=replace(SCHEDULE, epochs=3),
                         distillation=distillation)  # fmt: skip
    assert card.recipe["distillation"] == {"teacher": str(teacher), "share": 1.0, "temperature": 4.0}
    assert card.metrics["test"]["top1"] > 0.5


@pytest.mark.parametrize(
    ("command", "told"),
    (
        (["lenet5", "--image", "48x48x1", "--data", "digits"], "another input: {"),
        (["resnet18", "--data", "shapes", "--image", "32"], "another classes: ("),
        (["lenet5", "--data", "shapes:many", "-t", "name=multilabel"], "another task: classification; "),
    ),
)  # fmt: skip
def test_a_teacher_of_something_else_is_refused(teacher, tmp_path, command, told):
    done = CliRunner().invoke(cli, ["train", *command, "--teacher", str(teacher), "--out", str(tmp_path / "out")])
    assert done.exit_code == 1 and told in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_teacher_that_is_none_is_refused(tmp_path):
    done = CliRunner().invoke(
        cli, ["train", "lenet5", "--data", "digits", "--teacher", str(tmp_path), "--out", str(tmp_path / "o")]
    )
    assert done.exit_code == 1 and f"there is none at {tmp_path}" in done.stderr


def test_shares_and_temperatures_have_bounds():
    with pytest.raises(RecipeError, match="^share lies between 0 and 1, received 2"):
        Distillation(teacher="x", share=2)
