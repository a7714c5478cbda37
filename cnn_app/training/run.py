"""The main job's first half: data and a network in, a model directory with card, history and curves out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import keras

from cnn_app import data as sources
from cnn_app import heads, registry
from cnn_app.artifacts import Card, ModelDir, sha256
from cnn_app.data import pipeline
from cnn_app.data.dataset import Dataset
from cnn_app.errors import TrainingError
from cnn_app.recipe import Data, Schedule, Transfer
from cnn_app.runtimes import answers, open_model
from cnn_app.runtimes.keras_model import save
from cnn_app.tasks import classification
from cnn_app.training import engine, records
from cnn_app.training.freeze_schedule import PLAIN, FreezeSchedule


@dataclass(frozen=True)
class Job:
    """A network, its data at the network's size, and how it will be trained: what is known before the first step."""

    architecture: str
    columns: dict
    model: keras.Model
    dataset: Dataset
    data: Data
    schedule: Schedule
    transfer: Transfer | None = None
    freeze: FreezeSchedule = PLAIN
    learned: bool = False  # whether the model knows the classes before the first step

    @property
    def steps_per_epoch(self) -> int:
        return pipeline.steps_per_epoch(self.dataset.splits["train"], self.schedule.batch)

    @property
    def recipe(self) -> dict:
        """How it is trained."""
        return asdict(self.schedule) | ({"transfer": asdict(self.transfer)} if self.transfer else {})

    @property
    def settings(self) -> dict:
        """What decides the result, as JSON gives it back: two jobs with equal settings are the same run."""
        settings = {"network": self.architecture, "columns": self.columns, "data": self.dataset.fingerprint()}
        return json.loads(json.dumps(settings | self.recipe))


def plan(
    name: str, columns: dict, data: Data, schedule: Schedule, *,
    adapt: Callable[[keras.Model, Dataset], None] | None = None, progress: pipeline.Progress | None = None,
) -> Job:  # fmt: skip
    """Load the data and build network `name` for its classes, from the schedule's seed.

    `adapt` may change the network before images are read: what it refuses is told at once.
    """
    columns = columns | ({"image": data.image} if data.image else {})
    columns["image"] = registry.spec(name, **columns).image  # a wrong column or size is told before images are read
    dataset = sources.load(data)
    columns["classes"] = len(dataset.classes)
    keras.utils.set_random_seed(schedule.seed)
    model = heads.build("classification", name, columns)
    if adapt is not None:
        adapt(model, dataset)
    dataset = pipeline.prepare(dataset, columns["image"], skip_bad=data.on_bad_image == "skip", progress=progress)
    return Job(name, columns, model, dataset, data, schedule)


def run(
    job: Job, directory: ModelDir, *, resume: bool = False, overwrite: bool = False, watch: engine.Watch | None = None
) -> Card:
    """Train, keep the best checkpoint, measure it on the test split, and write the card."""
    if directory.card.exists() and not resume and not overwrite:
        raise TrainingError(
            f"{directory.path} holds a model already; --resume goes on with it, --overwrite replaces it"
        )
    card = Card(
        architecture=job.architecture,
        columns=job.columns,
        labels=job.dataset.classes,
        image=job.columns["image"],
        data=asdict(job.data)
        | {
            "fingerprint": job.dataset.fingerprint(),
            "counts": job.dataset.counts(),
            "skipped": len(job.dataset.skipped),
        },
        recipe=job.recipe,
        versions=records.versions(),
    )

    def keep(model: keras.Model, row: dict) -> None:
        nonlocal card
        save(model, directory.model)
        card = replace(card, metrics={"val": {"top1": row["val_top1"], "loss": row["val_loss"]}, "epoch": row["epoch"]},
                       digests={"model.keras": sha256(directory.model)})  # fmt: skip
        directory.write_card(card)

    if resume and directory.card.exists():
        kept = directory.read_card()
        card = replace(card, metrics=kept.metrics, digests=kept.digests)
    position = engine.train(job.model, job.dataset, job.schedule, directory, job.settings, keep, freeze=job.freeze,
                            learned=job.learned, resume=resume, watch=watch)  # fmt: skip
    best = open_model(directory.path)
    test = job.dataset.splits["test"]
    result = classification.report(answers(best, test), test.labels, job.dataset.classes)
    card = replace(card, metrics=card.metrics | {"test": result.figures})
    directory.write_card(card)
    title = f"{job.architecture} on {job.dataset.source}: test top-1 {result.top1:.1%} of {result.n:,}"
    records.draw_curves(directory, position.history, position.best_epoch, title)
    shutil.rmtree(directory.training, ignore_errors=True)
    return card


def dry_run(job: Job) -> dict:
    """One training step and one validation batch, nothing written: what a run would be."""
    engine.compile_model(job.model, job.schedule, job.freeze)
    batches = pipeline.training_batches(job.dataset.splits["train"], job.schedule.batch, len(job.dataset.classes),
                                        seed=job.schedule.seed, epoch=0, augment=job.schedule.augment)  # fmt: skip
    images, labels = next(batches.as_numpy_iterator())
    logs = engine.train_step(job.model, images, labels, job.schedule.lr)
    job.model.predict_on_batch(next(pipeline.arrays(job.dataset.splits["val"], job.schedule.batch)))
    return {
        "network": job.architecture,
        "parameters": job.model.count_params(),
        "image": list(job.columns["image"]),
        "classes": len(job.dataset.classes),
        "images": job.dataset.counts(),
        "skipped": list(job.dataset.skipped),
        "steps_per_epoch": job.steps_per_epoch,
        "steps": job.steps_per_epoch * job.schedule.epochs,
        "first_loss": logs["loss"],
    }


def overfit(job: Job, watch: engine.Watch | None = None) -> dict:
    """Memorise one batch, or say that it could not be done."""
    logs = engine.overfit_batch(job.model, job.dataset, job.schedule, watch)
    if logs["top1"] < 1.0:
        raise TrainingError(
            f"{job.architecture} did not memorise {logs['images']} images in {logs['steps']} steps: "
            f"top-1 {logs['top1']:.3f}, loss {logs['loss']:.3g}; try another --lr, or look at the labels"
        )
    return logs
