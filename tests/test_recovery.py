"""What a run does by itself before it gives up: half the rate where it diverged, a batch in parts where memory ends."""

import csv
import os
import signal

import numpy as np
import pytest
import tensorflow as tf

from cnn_app.artifacts import ModelDir
from cnn_app.errors import TrainingError
from cnn_app.jobs.train import plan, run
from cnn_app.recipe import Schedule
from cnn_app.training import engine
from cnn_app.training.step.tensorflow import TensorFlowStepper

SCHEDULE = Schedule(epochs=3, batch=128, lr=0.003, rate="constant", warmup=0, augment=("flip",), seed=5)


def trained(directory, schedule=SCHEDULE, resume=False, **watched):
    """What was told, and the weights that were kept last."""
    told, kept = [], []
    job = plan("lenet5", {"dropout": 0.0}, "digits", schedule)
    watched = {name: (lambda *seen, does=does: does(job.model, *seen)) for name, does in watched.items()}
    engine.train(
        job.model, job.task, job.dataset, schedule, directory, job.settings,
        lambda model, row, report: kept.append(model.get_weights()), resume=resume,
        watch=engine.Watch(tell=told.append, **watched),
    )  # fmt: skip
    return told, kept[-1]


def history(directory):
    return list(csv.DictReader(directory.history.read_text().splitlines()))


def spoil(model):
    layer = model.get_layer("f6")
    layer.set_weights([np.full_like(weight, np.nan) for weight in layer.get_weights()])


def test_a_run_that_diverges_goes_on_from_its_checkpoint_at_half_the_rate(tmp_path):
    """Spoilt behind the first epoch of 9 steps: it is found at the end of the second, which is taken again."""
    directory, once = ModelDir(tmp_path / "digits"), [spoil]
    told, kept = trained(directory, epoch=lambda model, row: once and once.pop()(model))
    assert told == ["the loss is nan at step 10 with learning rate 0.003: going on at half the rate; from step 9 on"]
    assert [(row["epoch"], float(row["lr"])) for row in history(directory)] == [
        ("1", 3e-3),
        ("2", 1.5e-3),
        ("3", 1.5e-3),
    ]
    assert all(np.isfinite(weight).all() for weight in kept)


def test_what_the_last_step_spoilt_is_neither_kept_nor_saved(tmp_path):
    """Its loss is that of the weights before it, so that the loss alone would not tell."""
    directory, once = ModelDir(tmp_path / "digits"), [spoil]

    def step(model, epoch, done, steps, logs):
        if (epoch, done) == (1, steps) and once:
            once.pop()(model)

    told, _ = trained(directory, step=step)
    assert (
        len(told) == 1 and "model/f6/kernel is no number any more at step 18" in told[0] and "from step 9 on" in told[0]
    )
    assert [row["epoch"] for row in history(directory)] == ["1", "2", "3"]


def test_the_third_time_is_the_last(tmp_path):
    directory, told = ModelDir(tmp_path / "digits"), []
    job = plan("lenet5", {}, "digits", SCHEDULE)
    watch = engine.Watch(
        tell=told.append, step=lambda epoch, done, steps, logs: epoch and done == 1 and spoil(job.model)
    )
    with pytest.raises(TrainingError, match=r"nan at step 11 with learning rate 0.00075; lower --lr .*epoch 1 is kept"):
        run(job, directory, watch=watch)
    assert len(told) == 2 and directory.read_card().metrics["epoch"] == 1


class Memory:
    """Of a device on which no more than so many records fit."""

    def __init__(self, most):
        self.most, self.seen = most, []

    def check(self, batch):
        self.seen.append(batch)
        if batch > self.most:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


@pytest.fixture
def memory(monkeypatch):
    memory, take = Memory(48), TensorFlowStepper._take
    monkeypatch.setattr(TensorFlowStepper, "_take", lambda run, *given: memory.check(run.batch) or take(run, *given))
    return memory


def test_a_batch_that_does_not_fit_goes_in_parts_to_the_same_result(tmp_path, memory):
    """128, 64 and then four of 32; the network has no statistics of batches, so that nothing else differs."""
    schedule = Schedule(epochs=2, batch=128, lr=0.01, optimizer="sgd", augment=(), accumulate=2, ema=0.5)
    parts, whole = ModelDir(tmp_path / "parts"), ModelDir(tmp_path / "whole")
    told, kept = trained(parts, schedule)
    assert memory.seen[:4] == [128, 64, 32, 32] and set(memory.seen[2:]) == {32} and len(memory.seen) == 2 + 4 * 18
    assert [line.partition(":")[0] for line in told] == ["a batch of 128 does not fit the memory"] * 2
    assert "in 4 parts now, whose gradients are one step, as with --batch 32 --accumulate 8; from step 0 on" in told[1]
    memory.most = 128
    told, wanted = trained(whole, schedule)
    assert not told
    for ours, theirs in zip(kept, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    ours, theirs = (float(history(directory)[-1]["loss"]) for directory in (parts, whole))
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_a_memory_that_ends_within_a_run_keeps_what_was_learned(tmp_path, memory):
    """From the second epoch on, whose first steps were taken: Adam's count of steps goes on, too."""
    memory.most = 128
    told, wanted = trained(ModelDir(tmp_path / "whole"))

    def step(model, epoch, done, steps, logs):
        memory.most = 64 if (epoch, done) == (1, 3) else memory.most

    told, kept = trained(ModelDir(tmp_path / "parts"), step=step)
    assert len(told) == 1 and told[0].endswith("from step 9 on")
    for ours, theirs in zip(kept, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_a_run_in_parts_is_resumed_in_parts_to_the_bit(tmp_path, memory):
    def stop(model, epoch, done, steps, logs):
        if (epoch, done) == (1, 4):
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = ModelDir(tmp_path / "stopped")
    with pytest.raises(TrainingError, match="after step 13"):
        trained(stopped, step=stop)
    memory.seen.clear()
    told, kept = trained(stopped, resume=True)
    assert told == [] and set(memory.seen) == {32}
    _, wanted = trained(ModelDir(tmp_path / "whole"))
    for ours, theirs in zip(kept, wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_batch_that_cannot_be_halved_further_is_an_error_of_one_line(tmp_path, memory):
    with pytest.raises(TrainingError, match="^a batch of 98 does not fit the memory of the device; lower --batch$"):
        trained(ModelDir(tmp_path / "odd"), Schedule(batch=98))
