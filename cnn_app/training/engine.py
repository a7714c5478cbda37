"""The training loop: one epoch after the other, stoppable at any step, resumable to the very same result."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

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
from cnn_app.training.step import Aim, Stepper
from cnn_app.training.step import stepper as step_by

OVERFIT_STEPS = 200
READ_EVERY_STEPS = 16  # losses and metrics: a device that is asked for them waits
SAVE_EVERY_STEPS = 2000  # within long epochs


class Stopped(TrainingError):
    """A signal ended the run; its state is saved."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


@dataclass(frozen=True)
class Watch:
    """What the loop tells while it runs; the default says nothing. Logs of a step are means of what was read so far."""

    step: Callable[[int, int, int, dict], None] = lambda epoch, step, steps, logs: None
    epoch: Callable[[dict], None] = lambda row: None
    tell: Callable[[str], None] = lambda line: None


def stepper(
    model: keras.Model, task: Task, split: Split, schedule: Schedule, freeze: FreezeSchedule = PLAIN, epoch: int = 0,
    steps: int = 0, devices: tuple[str, ...] = (),
) -> Stepper:  # fmt: skip
    """Freeze what `epoch`, which has so many steps, freezes, and learn by a new optimizer from the training split."""
    enter(model, freeze.phase(epoch))
    late = {name: since * steps for name, since in freeze.since(epoch).items()}
    aim = Aim(task.objective(schedule, split), task.step_metrics, task.fed)
    return step_by(model, lambda: optimizer(schedule, freeze.factors, late), aim, ema=schedule.ema,
                   precision=schedule.precision, devices=devices)  # fmt: skip


def measure(task: Task, runtime: Runtime, split: Split) -> Report:
    """What a runtime answers to a prepared split, against its targets."""
    return task.measure((tasks.answers(task, runtime, *parts), parts[1]) for parts in pipeline.arrays(split, 64))


def train(
    model: keras.Model, task: Task, dataset: Dataset, schedule: Schedule, directory: ModelDir, settings: dict,
    keep: Callable[[keras.Model, dict, Report], None], *, freeze: FreezeSchedule = PLAIN, learned: bool = False,
    resume: bool = False, watch: Watch | None = None, devices: tuple[str, ...] = (),
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
    saved = checkpoint.read(directory, settings, watch.tell) if resume else None
    position = saved.position if saved else Position()
    phase = freeze.phase(max(0, position.step - 1) // steps)  # in which it was saved
    run = stepper(model, task, split, schedule, freeze, phase.epoch, steps, devices)

    if saved and schedule.epochs > saved.settings["epochs"]:
        watch.tell(_longer(saved.settings["epochs"], schedule, position, steps))

    def save(first: bool = False) -> None:
        checkpoint.save(directory, run.state(), position, settings, stream.state(), first=first)

    if saved:
        checkpoint.fill(directory, run, saved)
        stream.restore(saved.stream)
    else:  # from here on --resume repairs what a kill may leave: a card of half a run, or a model and a card of two
        save(first=True)
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
                phase, values = freeze.phase(epoch), run.state()
                run = stepper(model, task, split, schedule, freeze, epoch, steps, devices)
                run.restore(values)
            for done, means in passed(run, stream, schedule, position):
                watch.step(epoch, done, steps, means)
                halt = bool(stopped) and done < steps
                if halt or (done % SAVE_EVERY_STEPS == 0 and done < steps):
                    _count(run, stream, schedule, position)
                    save()
                if halt:
                    raise _stopped(position, stopped)
            run.sync()
            report = measure(task, runtime, dataset.splits["val"])
            rate = learning_rate(schedule, position.step - 1, steps, position.plateaus)
            row = _ranked(task, report, position, epoch + 1, rate, means)
            if position.best_epoch == row["epoch"]:
                keep(model, row, report)
            records.write_history(directory, position.history)
            save()
            watch.epoch(row)
            if stopped and epoch + 1 < schedule.epochs:
                raise _stopped(position, stopped)
    return position


def passed(run: Stepper, stream: Stream, schedule: Schedule, position: Position) -> Iterator[tuple[int, dict]]:
    """Take the rest of the epoch's steps: how many are done, and the means of what was read of them, after each.

    Raises TrainingError when the loss is no number any more.
    """
    epoch, skip = divmod(position.step, stream.steps)
    means: dict[str, float] = {}
    for done, (inputs, targets) in enumerate(stream.batches(epoch, skip), start=skip + 1):
        run.train(inputs, targets, learning_rate(schedule, position.step, stream.steps, position.plateaus))
        position.step += 1
        if stream.acts:
            run.sync()
        if done % READ_EVERY_STEPS == 0 or done == stream.steps:
            _count(run, stream, schedule, position)
            means = {name: total / done for name, total in position.sums.items()}
        yield done, means


def memorise(
    model: keras.Model, task: Task, dataset: Dataset, schedule: Schedule, freeze: FreezeSchedule = PLAIN,
    watch: Watch | None = None, devices: tuple[str, ...] = (),
) -> dict:  # fmt: skip
    """Learn one batch only: a network, data and learning rate that cannot do that will not learn more."""
    watch, split = watch or Watch(), dataset.splits["train"]
    run = stepper(model, task, split, schedule, freeze, devices=devices)
    inputs, targets = task.stream(model, split, schedule).first()
    logs: dict = {}
    for done in range(1, OVERFIT_STEPS + 1):
        run.train(inputs, targets, schedule.lr)
        if done % READ_EVERY_STEPS == 0 or done == OVERFIT_STEPS:
            logs = run.read()[-1]
        watch.step(0, done, OVERFIT_STEPS, logs)
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


def _longer(before: int, schedule: Schedule, position: Position, steps: int) -> str:
    """What more epochs than `before` do to the rate."""
    told = f"going on for {schedule.epochs} epochs, not {before}"
    old, new = (learning_rate(one, position.step, steps, position.plateaus)
                for one in (replace(schedule, epochs=before), schedule))  # fmt: skip
    return told if old == new else f"{told}: the rate falls until then, and is {new:.3g} now where it was {old:.3g}"


def _count(run: Stepper, stream: Stream, schedule: Schedule, position: Position) -> None:
    """Read what the steps told that were not read yet, and add it up in their order."""
    told = run.read()
    for step, logs in enumerate(told, start=position.step - len(told)):
        if not math.isfinite(logs["loss"]):
            rate = learning_rate(schedule, step, stream.steps, position.plateaus)
            raise _diverged(logs["loss"], step + 1, rate, position)
        position.sums = {name: position.sums.get(name, 0.0) + value for name, value in logs.items()}


def _diverged(loss: float, step: int, rate: float, position: Position) -> TrainingError:
    kept = f"the checkpoint of epoch {position.best_epoch} is kept" if position.best else "no checkpoint was kept yet"
    return TrainingError(
        f"the loss is {loss} at step {step} with learning rate {rate:.3g}; lower --lr or lengthen --warmup; {kept}"
    )


def _stopped(position: Position, stopped: list[int]) -> Stopped:
    told = f"stopped after step {position.step}; the run is saved, go on with the same command and --resume"
    return Stopped(told, stopped[0])
