"""The training loop: one epoch after the other, stoppable at any step, resumable to the very same result."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import keras

from cnn_app import tasks
from cnn_app.artifacts import ModelDir
from cnn_app.data import pipeline
from cnn_app.data.dataset import Dataset, Split
from cnn_app.recipe import Schedule
from cnn_app.runtimes import Runtime
from cnn_app.runtimes.keras_model import KerasRuntime
from cnn_app.tasks import Report, Stream, Task
from cnn_app.tensors import Arrays
from cnn_app.training import checkpoint, distillation, records, recovery
from cnn_app.training.checkpoint import Position, Saved
from cnn_app.training.distillation import Teacher
from cnn_app.training.freeze_schedule import PLAIN, FreezeSchedule, enter
from cnn_app.training.optimizers import PLATEAU_PATIENCE, optimizer
from cnn_app.training.recovery import Diverged
from cnn_app.training.step import Aim, OutOfMemory, Stepper
from cnn_app.training.step import stepper as step_by
from cnn_app.training.step.devices import Devices
from cnn_app.training.stopping import stop_signals, stopped_at

OVERFIT_STEPS = 200
READ_EVERY_STEPS = 16  # losses and metrics: a device that is asked for them waits
SAVE_EVERY_STEPS = 2000  # within long epochs
ALIKE = 500  # training records, at most, that are measured as those of val are


@dataclass(frozen=True)
class Watch:
    """What the loop tells while it runs; the default says nothing. Logs of a step are means of what was read so far."""

    step: Callable[[int, int, int, dict], None] = lambda epoch, step, steps, logs: None
    epoch: Callable[[dict], None] = lambda row: None
    tell: Callable[[str], None] = lambda line: None


def stepper(
    model: keras.Model, task: Task, split: Split, schedule: Schedule, freeze: FreezeSchedule = PLAIN, epoch: int = 0,
    steps: int = 0, devices: Devices = (), parts: int = 1, teacher: Teacher | None = None,
) -> Stepper:  # fmt: skip
    """Freeze what `epoch`, which has so many steps, freezes, and learn by a new optimizer from the training split.

    parts: of a batch, which go through the network one by one.
    """
    enter(model, freeze.phase(epoch))
    late = {name: since * steps * parts for name, since in freeze.since(epoch).items()}
    of_truth = task.objective(schedule, split)
    losses = distillation.objective(task, of_truth, teacher) if teacher else of_truth
    aim = Aim(losses, task.step_metrics, task.fed, teacher.model if teacher else None)
    by_parts = replace(schedule, accumulate=schedule.accumulate * parts)
    return step_by(model, lambda: optimizer(by_parts, freeze.factors, late), aim, ema=schedule.ema,
                   precision=schedule.precision, devices=devices, parts=parts)  # fmt: skip


def measure(task: Task, runtime: Runtime, split: Split) -> Report:
    """What a runtime answers to a prepared split, against its targets."""
    return task.measure((tasks.answers(task, runtime, *parts), parts[1]) for parts in pipeline.arrays(split, 64))


def train(
    model: keras.Model, task: Task, dataset: Dataset, schedule: Schedule, directory: ModelDir, settings: dict,
    keep: Callable[[keras.Model, dict, Report], None], *, freeze: FreezeSchedule = PLAIN, learned: bool = False,
    resume: bool = False, watch: Watch | None = None, devices: Devices = (), teacher: Teacher | None = None,
) -> Position:  # fmt: skip
    """Train `model` in place and hand the best weights so far to `keep(model, history row, report on val)`.

    settings: what must be equal for a run to be resumed. The task's monitored metrics on val rank the epochs.
    learned: the model knows its task already; what it starts as is epoch 0, and may stay the best.
    Where the loss is no number any more the last checkpoint goes on at half the rate, and where a batch does not fit
    the memory in parts. Raises TrainingError when that does not help, or when a signal stopped the run.
    """
    watch = watch or Watch()
    saved = checkpoint.read(directory, settings, watch.tell) if resume else None
    if saved and schedule.epochs > saved.settings["epochs"]:
        watch.tell(_longer(saved, schedule, task.stream(model, dataset.splits["train"], schedule).steps))
    while True:
        position = saved.position if saved else Position()
        try:
            _go_on(model, task, dataset, schedule, directory, settings, keep, freeze, learned, saved, position, watch,
                   devices, teacher)  # fmt: skip
            return position
        except (Diverged, OutOfMemory) as error:
            told, change = recovery.tried(error, position, schedule, devices)
            saved = change(checkpoint.read(directory, settings, watch.tell))
            watch.tell(f"{told}; from step {saved.position.step} on")


def _go_on(
    model: keras.Model, task: Task, dataset: Dataset, schedule: Schedule, directory: ModelDir, settings: dict,
    keep: Callable[[keras.Model, dict, Report], None], freeze: FreezeSchedule, learned: bool, saved: Saved | None,
    position: Position, watch: Watch, devices: Devices, teacher: Teacher | None,
) -> None:  # fmt: skip
    """Train from `position` on, which follows; its state is that of `saved`, or of the model as it is."""
    split = dataset.splits["train"]
    stream = task.stream(model, split, schedule)
    steps = stream.steps
    runtime = task.measured(KerasRuntime(task.deployed(model)))
    count = 0 if stream.acts else min(ALIKE, len(split), len(dataset.splits["val"]))
    alike = split.take(pipeline.stratified(task.strata(split), count)) if count else None
    phase = freeze.phase(max(0, position.step - 1) // steps)  # in which it was saved
    run = stepper(model, task, split, schedule, freeze, phase.epoch, steps, devices, position.parts, teacher)

    def save(variables: Arrays, first: bool = False) -> None:
        checkpoint.save(directory, variables, position, settings, stream.state(), first=first)

    if saved:
        checkpoint.fill(directory, run, saved)
        stream.restore(saved.stream)
    else:  # from here on --resume repairs what a kill may leave: a card of half a run, or a model and a card of two
        save(run.state(), first=True)
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
                run = stepper(model, task, split, schedule, freeze, epoch, steps, devices, position.parts, teacher)
                run.restore(values)
            for done, means in passed(run, stream, schedule, position):
                watch.step(epoch, done, steps, means)
                halt = bool(stopped) and done < steps
                if halt or (done % SAVE_EVERY_STEPS == 0 and done < steps):
                    _count(run, stream, schedule, position)
                    save(recovery.finite(run.state(), schedule, position, steps))
                if halt:
                    raise stopped_at(position.step, stopped)
            variables = recovery.finite(run.state(), schedule, position, steps)
            report = measure(task, runtime, dataset.splits["val"])
            if alike:
                found = measure(task, runtime, alike).metrics
                means |= {f"train_{name}": found[name] for name in _watched(task)}
            row = _ranked(task, report, position, epoch + 1, position.rate(schedule, steps, -1), means)
            if position.best_epoch == row["epoch"]:
                keep(model, row, report)
            records.write_history(directory, position.history)
            save(variables)
            watch.epoch(row)
            if stopped and epoch + 1 < schedule.epochs:
                raise stopped_at(position.step, stopped)


def passed(run: Stepper, stream: Stream, schedule: Schedule, position: Position) -> Iterator[tuple[int, dict]]:
    """Take the rest of the epoch's steps: how many are done, and the means of what was read of them, after each.

    Raises Diverged when the loss is no number any more.
    """
    epoch, skip = divmod(position.step, stream.steps)
    means: dict[str, float] = {}
    for done, (inputs, targets) in enumerate(stream.batches(epoch, skip), start=skip + 1):
        run.train(inputs, targets, position.rate(schedule, stream.steps))
        position.step += 1
        if stream.acts:
            run.sync()
        if done % READ_EVERY_STEPS == 0 or done == stream.steps:
            _count(run, stream, schedule, position)
            means = {name: total / done for name, total in position.sums.items()}
        yield done, means


def memorise(
    model: keras.Model, task: Task, dataset: Dataset, schedule: Schedule, freeze: FreezeSchedule = PLAIN,
    watch: Watch | None = None, devices: Devices = (),
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


def _ranked(task: Task, report: Report, position: Position, epoch: int, rate: float, means: dict) -> dict:
    """The row of a finished epoch, in the history; the position knows then whether it is the best."""
    metrics = report.metrics
    on_val = {f"val_{name}": metrics[name] for name in _watched(task)}
    row = {"epoch": epoch, "step": position.step, "lr": rate, **means, **on_val}
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


def _watched(task: Task) -> list[str]:
    return [name.removeprefix("-") for name in reversed(task.monitor)]


def _is_over(position: Position, schedule: Schedule) -> bool:
    """Whether there was nothing better for as many epochs as the schedule has patience."""
    return bool(position.history) and 0 < schedule.patience <= position.history[-1]["epoch"] - position.best_epoch


def _longer(saved: Saved, schedule: Schedule, steps: int) -> str:
    """What more epochs than before do to the rate."""
    before, position = saved.settings["epochs"], saved.position
    told = f"going on for {schedule.epochs} epochs, not {before}"
    old, new = (position.rate(one, steps) for one in (replace(schedule, epochs=before), schedule))
    return told if old == new else f"{told}: the rate falls until then, and is {new:.3g} now where it was {old:.3g}"


def _count(run: Stepper, stream: Stream, schedule: Schedule, position: Position) -> None:
    """Read what the steps told that were not read yet, and add it up in their order."""
    told = run.read()
    for back, logs in enumerate(told, start=-len(told)):
        if not math.isfinite(logs["loss"]):
            raise Diverged(f"the loss is {logs['loss']}", position, back, position.rate(schedule, stream.steps, back))
        position.sums = {name: position.sums.get(name, 0.0) + value for name, value in logs.items()}
