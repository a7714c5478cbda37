"""The training loop: one epoch after the other, stoppable at any step, resumable to the very same result."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import numpy as np

from cnn_app.artifacts import ModelDir
from cnn_app.data import pipeline
from cnn_app.data.dataset import Dataset
from cnn_app.errors import TrainingError
from cnn_app.recipe import Schedule
from cnn_app.runtimes import answers
from cnn_app.runtimes.keras_model import KerasRuntime
from cnn_app.tasks import classification
from cnn_app.training import checkpoint, records
from cnn_app.training.checkpoint import Position
from cnn_app.training.freeze_schedule import PLAIN, FreezeSchedule, enter
from cnn_app.training.optimizers import PLATEAU_PATIENCE, learning_rate, optimizer

OVERFIT_STEPS = 200
SAVE_EVERY_STEPS = 2000  # within long epochs


class Stopped(TrainingError):
    """A signal ended the run; its state is saved."""


@dataclass(frozen=True)
class Watch:
    """What the loop tells while it runs; the default says nothing."""

    step: Callable[[int, int, int, dict], None] = lambda epoch, step, steps, logs: None
    epoch: Callable[[dict], None] = lambda row: None


def compile_model(model: keras.Model, schedule: Schedule, freeze: FreezeSchedule = PLAIN, epoch: int = 0) -> None:
    """Freeze what `epoch` freezes; loss, metrics and optimizer; no XLA on a CPU, where a step costs twenty times."""
    enter(model, freeze.phase(epoch))
    model.compile(
        optimizer(schedule, freeze.factors),
        **classification.compile_arguments(model, schedule.label_smoothing),
    )
    model.optimizer.build(model.trainable_variables)


def train(
    model: keras.Model, dataset: Dataset, schedule: Schedule, directory: ModelDir, settings: dict,
    keep: Callable[[keras.Model, dict], None], *, freeze: FreezeSchedule = PLAIN, learned: bool = False,
    resume: bool = False, watch: Watch | None = None,
) -> Position:  # fmt: skip
    """Train `model` in place and hand the best weights so far to `keep(model, history row)`.

    settings: what must be equal for a run to be resumed. The best epoch has the highest val top-1, then lowest loss.
    learned: the model knows the classes already; what it starts as is epoch 0, and may stay the best.
    Raises TrainingError when the loss is no number any more, or when a signal stopped the run.
    """
    watch = watch or Watch()
    train_split, steps = dataset.splits["train"], pipeline.steps_per_epoch(dataset.splits["train"], schedule.batch)
    weights = classification.class_weights(train_split.labels, dataset.classes, schedule.class_weights)
    position, saved = checkpoint.read(directory, settings) if resume else (Position(), None)
    phase = freeze.phase(max(0, position.step - 1) // steps)  # in which it was saved
    compile_model(model, schedule, freeze, phase.epoch)
    if saved is not None:
        checkpoint.fill(directory, model, saved)
    if learned and not position.history:
        before = classification.report(answers(KerasRuntime(model), train_split), train_split.labels, dataset.classes)
        row = _measure(model, dataset, position, 0, 0.0, {"loss": before.loss, "top1": before.top1})
        keep(model, row)
        watch.epoch(row)
    with stop_signals() as stopped:
        for epoch in range(position.step // steps, schedule.epochs):
            if _is_over(position, schedule):
                break
            if freeze.phase(epoch) != phase:
                phase = freeze.phase(epoch)
                compile_model(model, schedule, freeze, epoch)
            batches = pipeline.training_batches(
                train_split, schedule.batch, len(dataset.classes), seed=schedule.seed, epoch=epoch,
                skip=position.step - epoch * steps, augment=schedule.augment,
            )  # fmt: skip
            for images, labels in batches.as_numpy_iterator():
                rate = learning_rate(schedule, position.step, steps, position.plateaus)
                logs = train_step(model, images, labels, rate, weights)
                position.step += 1
                _check_finite(logs, rate, position)
                position.sums = {name: position.sums.get(name, 0.0) + value for name, value in logs.items()}
                done = position.step - epoch * steps
                watch.step(epoch, done, steps, {name: total / done for name, total in position.sums.items()})
                if stopped.is_set() and done < steps:
                    raise _stop(directory, model, position, settings)
                if done % SAVE_EVERY_STEPS == 0 and done < steps:
                    checkpoint.save(directory, model, position, settings)
            means = {name: total / steps for name, total in position.sums.items()}
            row = _measure(model, dataset, position, epoch + 1, rate, means)
            if position.best_epoch == row["epoch"]:
                keep(model, row)
            records.write_history(directory, position.history)
            checkpoint.save(directory, model, position, settings)
            watch.epoch(row)
            if stopped.is_set() and epoch + 1 < schedule.epochs:
                raise _stop(directory, model, position, settings)
    return position


def train_step(model: keras.Model, images, labels, rate: float, class_weights: np.ndarray | None = None) -> dict:
    """One optimizer step; its loss over all outputs and its top-1 of the main one."""
    model.optimizer.learning_rate = rate
    share = None if class_weights is None else classification.targets(model, labels @ class_weights)
    logs = model.train_on_batch(images, classification.targets(model, labels), share, return_dict=True)
    top1 = logs.get("top1", logs.get(f"{classification.MAIN}_top1"))
    return {"loss": float(logs["loss"]), "top1": float(top1)}


def overfit_batch(model: keras.Model, dataset: Dataset, schedule: Schedule, watch: Watch | None = None) -> dict:
    """Memorise one batch: a network, data and learning rate that cannot do that will not learn more."""
    watch = watch or Watch()
    compile_model(model, schedule)
    batches = pipeline.training_batches(
        dataset.splits["train"], schedule.batch, len(dataset.classes), seed=schedule.seed, epoch=0
    )
    images, labels = next(batches.as_numpy_iterator())
    logs: dict = {}
    for step in range(OVERFIT_STEPS):
        logs = train_step(model, images, labels, schedule.lr)
        watch.step(0, step + 1, OVERFIT_STEPS, logs)
    return logs | {"images": len(images), "steps": OVERFIT_STEPS}


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """SIGINT and SIGTERM set the event; the second one ends the process as usual."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number, frame):
        stopped.set()
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, stop)
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _measure(model, dataset, position: Position, epoch: int, rate: float, means: dict) -> dict:
    """The row of a finished epoch, in the history; the position knows then whether it is the best."""
    val = dataset.splits["val"]
    result = classification.report(answers(KerasRuntime(model), val), val.labels, dataset.classes)
    figures = {"val_loss": result.loss, "val_top1": result.top1}
    row = {"epoch": epoch, "step": position.step, "lr": rate, **means, **figures}
    position.sums = {}
    position.history.append(row)
    score = (result.top1, -result.loss)
    if position.best is None or score > position.best:
        position.best, position.best_epoch = score, epoch
    if position.lowest_loss is None or result.loss < position.lowest_loss:
        position.lowest_loss, position.waited = result.loss, 0
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


def _stop(directory: ModelDir, model, position: Position, settings: dict) -> Stopped:
    checkpoint.save(directory, model, position, settings)
    return Stopped(f"stopped after step {position.step}; the run is saved, go on with the same command and --resume")
