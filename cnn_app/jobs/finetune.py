"""Fine-tuning: a network with weights from elsewhere, other data, a new head where the classes are others."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cnn_app import registry, tasks
from cnn_app.artifacts import Card, ModelDir, is_model, training_directory
from cnn_app.augmentations import FINETUNE_AUGMENT
from cnn_app.data import Records, pipeline
from cnn_app.errors import ModelError
from cnn_app.jobs import sources, train
from cnn_app.jobs.distil import taught
from cnn_app.jobs.train import Job
from cnn_app.recipe import Data, Distillation, Schedule, Transfer
from cnn_app.runtimes.about import About
from cnn_app.runtimes.keras_model import about_of, load
from cnn_app.training import loggers
from cnn_app.training.engine import Watch
from cnn_app.training.step.devices import chosen
from cnn_app.transfer import HEAD, copy_weights, features, freezing, linear, load_weights
from cnn_app.transfer.adoption import ARCHITECTURE, Adopted
from cnn_app.transfer.pretrained import published

SCHEDULE = Schedule(epochs=15, lr=2e-4, warmup=2.0, label_smoothing=0.1, augment=FINETUNE_AUGMENT)


def finetune(
    source: str | os.PathLike[str], data: str | Data | Records, out: str | os.PathLike[str], *,
    columns: Mapping | None = None, task: Mapping | None = None, schedule: Schedule | Mapping | None = None,
    transfer: Transfer | None = None, resume: bool = False, overwrite: bool = False, watch: Watch | None = None,
    progress: pipeline.Progress | None = None, devices: str | None = None, distillation: Distillation | None = None,
    logs: tuple[str, ...] = (),
) -> Card:  # fmt: skip
    """Train further from learned weights into the model directory `out`; its card is returned.

    source: a model directory, whose network and weights these are, or a network's name; that starts from ImageNet's
        weights where `transfer` names no others.
    schedule: of the whole, or the fields that are to differ from `SCHEDULE` and what the task prefers to it.
    transfer: which weights, what is frozen, and how a new head starts; by default `recipe.Transfer()`.

    The rest is as in `train`. Raises its errors, and ModelError for weights that do not fit the network.
    """
    with training_directory(out, resume=resume, overwrite=overwrite) as directory:
        loggers.check(logs)
        places = chosen(devices)
        data = sources.resumed(data, directory, resume)
        job = prepare(os.fspath(source), columns or {}, data, schedule, transfer or Transfer(), task, progress)
        job = taught(replace(job, devices=places, logs=logs), distillation)
        return train.run(job, directory, resume=resume, watch=watch)


def prepare(
    source: str, columns: Mapping, data: str | Data | Records, schedule: Schedule | Mapping | None, transfer: Transfer,
    options: Mapping | None = None, progress: pipeline.Progress | None = None,
) -> Job:  # fmt: skip
    """A Job that goes on from learned weights; records are read once everything else is known to fit."""
    known, adopted = None, None
    if is_model(source):
        card = ModelDir(source).read_card()
        adopted = Adopted(load(source), card.labels) if card.architecture == ARCHITECTURE else None
        name, known, before = card.architecture, card.input, tasks.of_card(card)
        row = {column: value for column, value in card.columns.items() if column not in before.columns()}
        row |= before.input.columns()
        columns, options = row | dict(columns), tasks.inherited(before, options or {})
    else:
        name = source
    weights = transfer.weights or ("imagenet" if known is None else source)
    data = sources.divided_as(sources.data_of(data), *map(_about, (weights, source)))
    job = _built(name, columns, data, schedule, options or {}, known, adopted)
    freeze = freezing.schedule(job.model, transfer, job.schedule.epochs)
    fresh = job.task.labels != adopted.labels if adopted else set_weights(job, weights)
    if "resize" not in columns and (resizing := getattr(job.model, "resizing", {})):
        job = resized(job, resizing)
    job = train.read(job, progress)
    probe = fresh and job.task.probed and transfer.recipe == "probe-then-tune"
    if probe:
        start_head(job)
    transfer = replace(transfer, weights=str(weights))
    return replace(job, transfer=transfer, freeze=freeze, learned=probe or not fresh)


def _built(
    name: str, columns: Mapping, data: str | Data | Records, schedule: Schedule | Mapping | None, options: Mapping,
    known: Mapping | None, adopted: Adopted | None,
) -> Job:  # fmt: skip
    """The job by a whole schedule, or by what the task prefers: as many epochs as its steps take, unless said."""
    if isinstance(schedule, Schedule):
        return train.build(name, columns, data, schedule, options, known, adopted)
    row = adopted.row(columns) if adopted else registry.spec(name, **columns)
    kind, said = tasks.kind_of(row, options), dict(schedule or {})
    if adopted and kind.name != row.task:
        raise ModelError(f"an adopted network is for {row.task} and has no head for {kind.name}")
    job = train.build(name, columns, data, replace(SCHEDULE, **{**kind.tuning, **said}), options, known, adopted)
    if "epochs" in said:
        return job
    epochs = max(job.schedule.epochs, math.ceil(kind.tuning_steps / job.stream.steps))
    return replace(job, schedule=replace(job.schedule, epochs=epochs))


def resized(job: Job, resizing: Mapping) -> Job:
    """The job on images as its weights saw them when their accuracy was measured."""
    task = replace(job.task, input=replace(job.task.input, **resizing))
    return replace(job, task=task, columns=job.columns | task.columns())


def _about(source: str) -> About | None:
    """What a model directory says of itself."""
    return about_of(Path(source)) if ModelDir(source).card.is_file() else None


def set_weights(job: Job, weights: str) -> bool:
    """Set what was learned elsewhere; whether the head is new: for others of task or classes, or the input alone."""
    if ModelDir(weights).card.is_file():
        card = ModelDir(weights).read_card()
        new = (card.task, card.labels) != (job.task.name, job.task.labels)
        copy_weights(load(weights), job.model, new_head=new)
        return new
    if job.task.input.set_weights(job.model, weights):
        return True
    if weights == "imagenet":
        return published.load(job.model, job.columns).new_head
    return load_weights(job.model, weights).new_head


def start_head(job: Job) -> linear.Linear:
    """Set the head to the logistic regression on its features: tuning then bends them less (arXiv:2202.10054)."""
    split, model = job.dataset.splits["train"], job.model
    found = linear.fit(
        features.vectors(features.tapped(model), split), job.task.strata(split), len(job.task.labels),
        seed=job.schedule.seed,
    )  # fmt: skip
    model.get_layer(HEAD).set_weights(linear.as_head(found))
    return found
