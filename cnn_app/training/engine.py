"""The training loop: one epoch after the other, stoppable at any step, resumable to the very same result."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import keras

from cnn_app import tasks
from cnn_app.artifacts import ModelDir
from cnn_app.data import pipeline
from cnn_app.data.dataset import Dataset, Split
from cnn_app.errors import TrainingError
from cnn_app.recipe import Schedule
from cnn_app.runtimes import Runtime
from cnn_app.runtimes.keras_model import KerasRuntime
from cnn_app.tasks import Report, Stream, Task
from cnn_app.training import checkpoint, records
from cnn_app.training.checkpoint import Position
from cnn_app.training.freeze_schedule import PLAIN, FreezeSchedule, enter
from cnn_app.training.optimizers import PLATEAU_PATIENCE, learning_rate, optimizer
from cnn_app.training.step import Stepper

OVERFIT_STEPS = 200
SAVE_EVERY_STEPS = 2000  # within long epochs


class Stopped(TrainingError):
    """A signal ended the run; its state is saved."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


@dataclass(frozen=True)
class Watch:
    """What the loop tells while it runs; the default says nothing."""

    step: Callable[[int, int, int, dict], None] = lambda epoch, step, steps, logs: None
    epoch: Callable[[dict], None] = lambda row: None


def stepper(
    model: keras.Model, task: Task, split: Split, schedule: Schedule, freeze: FreezeSchedule = PLAIN, epoch: int = 0
) -> Stepper:
    """Freeze what `epoch` freezes, and take steps with a new optimizer on batches of the training split."""
    enter(model, freeze.phase(epoch))
    objective = task.objective(schedule, split)
    return Stepper(model, optimizer(schedule, freeze.factors), objective, task.step_metrics, task.fed)


def measure(task: Task, runtime: Runtime, split: Split) -> Report:
    """What a runtime answers to a prepared split, against its targets."""
    return task.measure((tasks.answers(task, runtime, *parts), parts[1]) for parts in pipeline.arrays(split, 64))


def train(
    model: keras.Model, task: Task, dataset: Dataset, schedule: Schedule, directory: ModelDir, settings: dict,
    keep: Callable[[keras.Model, dict, Report], None], *, freeze: FreezeSchedule = PLAIN, learned: bool = False,
    resume: bool = False, watch: Watch | None = None,
) -> Position:  # fmt: skip
    """Train `model` in place and hand the best weights so far to `keep(model, history row, report on val)`.

    settings: what must be equal for a run to be resumed. The task's monitored metrics on val rank the epochs.
    learned: the model knows its task already; what it starts as is epoch 0, and may stay the best.
    Raises TrainingError when the loss is no number any more, or when a signal stopped the run.
    """
    watch = watch or Watch()
    split = dataset.splits["train"]
    stream = task.stream(model, split, schedule)
    steps = stream.steps
    runtime = task.measured(KerasRuntime(task.deployed(model)))
    position, saved, state = checkpoint.read(directory, settings) if resume else (Position(), None, {})
    phase = freeze.phase(max(0, position.step - 1) // steps)  # in which it was saved
    run = stepper(model, task, split, schedule, freeze, phase.epoch)
    if saved is not None:
        checkpoint.fill(directory, run.variables, saved)
        stream.restore(state)
    else:  # from here on --resume repairs what a kill may leave: a card of half a run, or a model and a card of two
        checkpoint.save(directory, run.variables, position, settings, stream.state())
    if learned and not position.history:
        before = measure(task, runtime, split).metrics
        start = {name: before[name] for name in ("loss", *task.batch_metrics)}
        report = measure(task, runtime, dataset.splits["val"])
        row = _ranked(task, report, position, 0, 0.0, start)
        keep(model, row, report)
        watch.epoch(row)
    with stop_signals() as stopped:
        for epoch in range(position.step // steps, schedule.epochs):
            if _is_over(position, schedule):
                break
            if freeze.phase(epoch) != phase:
                phase = freeze.phase(epoch)
                run = stepper(model, task, split, schedule, freeze, epoch)
            for inputs, targets in stream.batches(epoch, position.step - epoch * steps):
                rate = learning_rate(schedule, position.step, steps, position.plateaus)
                logs = run.train(inputs, targets, rate)
                position.step += 1
                _check_finite(logs, rate, position)
                position.sums = {name: position.sums.get(name, 0.0) + value for name, value in logs.items()}
                done = position.step - epoch * steps
                watch.step(epoch, done, steps, {name: total / done for name, total in position.sums.items()})
                if stopped and done < steps:
                    raise _stop(directory, run, position, settings, stream, stopped)
                if done % SAVE_EVERY_STEPS == 0 and done < steps:
                    checkpoint.save(directory, run.variables, position, settings, stream.state())
            means = {name: total / steps for name, total in position.sums.items()}
            report = measure(task, runtime, dataset.splits["val"])
            row = _ranked(task, report, position, epoch + 1, rate, means)
            if position.best_epoch == row["epoch"]:
                keep(model, row, report)
            records.write_history(directory, position.history)
            checkpoint.save(directory, run.variables, position, settings, stream.state())
            watch.epoch(row)
            if stopped and epoch + 1 < schedule.epochs:
                raise _stop(directory, run, position, settings, stream, stopped)
    return position


def memorise(
    model: keras.Model, task: Task, dataset: Dataset, schedule: Schedule, freeze: FreezeSchedule = PLAIN,
    watch: Watch | None = None,
) -> dict:  # fmt: skip
    """Learn one batch only: a network, data and learning rate that cannot do that will not learn more."""
    watch, split = watch or Watch(), dataset.splits["train"]
    run = stepper(model, task, split, schedule, freeze)
    inputs, targets = task.stream(model, split, schedule).first()
    logs: dict = {}
    for step in range(OVERFIT_STEPS):
        logs = run.train(inputs, targets, schedule.lr)
        watch.step(0, step + 1, OVERFIT_STEPS, logs)
    return logs | {"n": len(next(iter(inputs.values()))), "steps": OVERFIT_STEPS}


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM end up in the list; the second one ends the process as usual."""
    stopped: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number, frame):
        stopped.append(number)
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, stop)
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ranked(task: Task, report: Report, position: Position, epoch: int, rate: float, means: dict) -> dict:
    """The row of a finished epoch, in the history; the position knows then whether it is the best."""
    metrics = report.metrics
    watched = [name.removeprefix("-") for name in reversed(task.monitor)]
    row = {"epoch": epoch, "step": position.step, "lr": rate, **means, **{f"val_{n}": metrics[n] for n in watched}}
    position.sums = {}
    position.history.append(row)
    score, loss = tasks.score(task, metrics), metrics["loss"]
    if position.best is None or score > position.best:
        position.best, position.best_epoch = score, epoch
    if position.lowest_loss is None or loss < position.lowest_loss:
        position.lowest_loss, position.waited = loss, 0
    else:
        position.waited += 1
        if position.waited == PLATEAU_PATIENCE:
            position.plateaus, position.waited = position.plateaus + 1, 0
    return row


def _is_over(position: Position, schedule: Schedule) -> bool:
    """Whether there was nothing better for as many epochs as the schedule has patience."""
    return bool(position.history) and 0 < schedule.patience <= position.history[-1]["epoch"] - position.best_epoch


def _check_finite(logs: dict, rate: float, position: Position) -> None:
    if not math.isfinite(logs["loss"]):
        kept = (
            f"the checkpoint of epoch {position.best_epoch} is kept" if position.best else "no checkpoint was kept yet"
        )
        raise TrainingError(
            f"the loss is {logs['loss']} at step {position.step} with learning rate {rate:.3g}; "
            f"lower --lr or lengthen --warmup; {kept}"
        )


def _stop(
    directory: ModelDir, run: Stepper, position: Position, settings: dict, stream: Stream, stopped: list[int]
) -> Stopped:
    checkpoint.save(directory, run.variables, position, settings, stream.state())
    told = f"stopped after step {position.step}; the run is saved, go on with the same command and --resume"
    return Stopped(told, stopped[0])
