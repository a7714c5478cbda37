"""The main job's first half: data and a network in, a model directory with card, history and curves out."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import keras

from cnn_app import cluster, heads, registry, tasks
from cnn_app.analysis import report as page
from cnn_app.artifacts import Card, ModelDir, sha256, training_directory
from cnn_app.augmentations import AUGMENT, FINETUNE_AUGMENT, PRESETS
from cnn_app.data import Records, pipeline, told
from cnn_app.data.dataset import SPLITS, Dataset, called
from cnn_app.data.division import write_table
from cnn_app.errors import ModelError, TrainingError
from cnn_app.jobs import sources
from cnn_app.jobs.distil import taught
from cnn_app.recipe import Data, Distillation, Schedule, Transfer
from cnn_app.runtimes.familiarity import write as write_familiarity
from cnn_app.runtimes.keras_model import card_about, open_model, save
from cnn_app.tasks import Task
from cnn_app.training import engine, loggers, records
from cnn_app.training.distillation import Teacher
from cnn_app.training.freeze_schedule import FreezeSchedule, constant
from cnn_app.training.step.devices import Devices, chosen
from cnn_app.transfer import familiarity
from cnn_app.transfer.adoption import Adopted


@dataclass(frozen=True)
class Job:
    """A network, its data as it takes them, and how it will be trained: what is known before the first step."""

    architecture: str
    columns: dict
    model: keras.Model
    task: Task
    dataset: Dataset
    raw: Dataset  # with the records that cannot be read
    data: Data
    schedule: Schedule
    transfer: Transfer | None = None
    freeze: FreezeSchedule = field(default_factory=FreezeSchedule)
    learned: bool = False  # whether the model knows its task before the first step
    teacher: Teacher | None = None
    devices: Devices = ()  # that share a batch; none: the backend's own
    logs: tuple[str, ...] = ()  # beside the history: names of `training.loggers`

    @property
    def stream(self) -> tasks.Stream:
        return self.task.stream(self.model, self.dataset.splits["train"], self.schedule)

    @property
    def recipe(self) -> dict:
        """How it is trained."""
        parts = {"transfer": self.transfer, "distillation": self.teacher and self.teacher.options}
        return asdict(self.schedule) | {name: asdict(part) for name, part in parts.items() if part}

    @property
    def settings(self) -> dict:
        """What decides the result, as JSON gives it back: two jobs with equal settings are the same run."""
        options = tasks.facts(self.task)["options"]
        settings = {"network": self.architecture, "columns": self.columns, "data": self.dataset.fingerprint()}
        settings |= {"task": options} if options else {}
        settings |= {"teacher": self.teacher.digest} if self.teacher else {}
        return json.loads(json.dumps(settings | self.recipe))


def train(
    name: str, data: str | Data | Records, out: str | os.PathLike[str], *, columns: Mapping | None = None,
    task: Mapping | None = None, schedule: Schedule | None = None, resume: bool = False, overwrite: bool = False,
    watch: engine.Watch | None = None, progress: pipeline.Progress | None = None, devices: str | None = None,
    distillation: Distillation | None = None, logs: tuple[str, ...] = (),
) -> Card:  # fmt: skip
    """Train the network `name` from random weights into the model directory `out`; its card is returned.

    name: one of `list_models()`.
    data: digits, shapes, shapes:many, tfds:NAME, a folder, `recipe.Data` with more to say, or arrays by `data.arrays`.
    out: the model directory.
    columns: of the network's row, such as {"width": 0.5, "image": (96, 96, 3)}.
    task: options of the network's task, such as {"loss": "dice"}; {"name": "multilabel"} gives it another task.
    schedule: epochs, learning rate and the rest; by default `recipe.Schedule()`.
    resume: go on with a run that was stopped, to the same result.
    overwrite: replace the model that is there.
    watch: told of each step and epoch.
    progress: told of records that are read.
    devices: "all", a number of them, or places such as "0,2": they share each batch.
    distillation: a model directory whose answers are learned beside what is true.
    logs: where else its numbers are written: "jsonl", "tensorboard", "mlflow", "wandb".

    Raises TrainingError where `out` holds a model already and neither `resume` nor `overwrite` is given, ArtifactError
    where another process is at work there, DataError for records that cannot be read, UnknownName for a network or
    column that is not there.
    """
    with training_directory(out, resume=resume, overwrite=overwrite) as directory:
        loggers.check(logs)
        places = chosen(devices)
        data = sources.resumed(data, directory, resume)
        job = plan(name, columns or {}, data, schedule or Schedule(), task, progress)
        job = taught(replace(job, devices=places, logs=logs), distillation)
        return run(job, directory, resume=resume, watch=watch)


def plan(
    name: str, columns: Mapping, data: str | Data | Records, schedule: Schedule, options: Mapping | None = None,
    progress: pipeline.Progress | None = None,
) -> Job:  # fmt: skip
    """Load the data and build network `name` for it, from the schedule's seed. Records are read last."""
    job = build(name, columns, data, schedule, options)
    return read(job, progress)


def build(
    name: str, columns: Mapping, data: str | Data | Records, schedule: Schedule, options: Mapping | None = None,
    known: Mapping | None = None, adopted: Adopted | None = None,
) -> Job:  # fmt: skip
    """A job whose records are not read yet: what is wrong with names, columns and folders is told at once.

    known: facts of the input of a model that is trained further, such as its vocabulary.
    adopted: the network, where it is none of ours.
    """
    columns = dict(columns)
    row = adopted.row(columns) if adopted else registry.spec(name, **columns)
    task, data = tasks.of_row(row, options or {}, known or {}), sources.data_of(data)
    schedule = with_known_augmentations(task, schedule)
    dataset = task.load(data)
    task = task.fitted(dataset)
    check_columns(columns, task)
    columns |= task.columns()
    keras.utils.set_random_seed(schedule.seed)
    model = adopted.build(row, task.labels) if adopted else heads.build(name, columns, task.head)
    return Job(name, columns, model, task, dataset, dataset, told(data), schedule, freeze=constant(model))


def read(job: Job, progress: pipeline.Progress | None = None) -> Job:
    """The job with the records of all its splits as the network takes them."""
    dataset = sources.prepared(job.task, job.dataset, job.data, progress, job.schedule.augment)
    for name in SPLITS:  # a bad record of test is told before hours of training, not after
        dataset.splits[name]
    return replace(job, dataset=dataset)


def check_columns(columns: Mapping, task: Task) -> None:
    """Raise ModelError for a number of classes that is not that of the data."""
    found = task.columns().get("classes")
    if found and columns.get("classes", found) != found:
        raise ModelError(f"classes follows from the data, which give {found}; leave out classes={columns['classes']}")


def with_known_augmentations(task: Task, schedule: Schedule) -> Schedule:
    """Of the defaults and of presets what the task knows; what was asked for by its name and is unknown is an error."""
    default, known = schedule.augment in (AUGMENT, FINETUNE_AUGMENT), task.augmentations
    unknown = [name for name in schedule.augment if name not in (*known, *PRESETS)]
    if unknown and not default:
        raise TrainingError(f"{task.input.plural} for {task.name} cannot be changed by {unknown[0]!r}; known: "
                            f"{', '.join(known) or 'nothing, use --augment none'}")  # fmt: skip
    names = [one for name in schedule.augment for one in PRESETS.get(name, (name,)) if one in known]
    names += task.input.usual if default else ()
    return replace(schedule, augment=tuple(dict.fromkeys(names)))


def run(job: Job, directory: ModelDir, *, resume: bool = False, watch: engine.Watch | None = None) -> Card:
    """Train, keep the best checkpoint, measure it on the test split, and write the card."""
    state = _Kept(job, directory, resume)
    facts = {"network": job.architecture, "data": job.dataset.source, **job.columns, **job.recipe}
    found = cluster.here()
    logs = () if found and not found.is_chief else job.logs
    with loggers.logged(logs, directory.path, facts, watch or engine.Watch()) as watched:
        position = engine.train(job.model, job.task, job.dataset, job.schedule, directory, job.settings, state.keep,
                                freeze=job.freeze, learned=job.learned, resume=resume, watch=watched,
                                devices=job.devices, teacher=job.teacher)  # fmt: skip
    runtime = open_model(directory.path)
    known = familiarity.fitted(runtime.model, job.task, job.dataset)
    write_familiarity(directory, known, state.card.digests["model.keras"])
    task = tasks.of_card(state.card)
    report = engine.measure(task, task.measured(runtime), job.dataset.splits["test"])
    card = replace(state.card, metrics=state.card.metrics | {"test": job.dataset.figures("test", report.metrics)})
    directory.write_card(card)
    title = f"{job.architecture} on {job.dataset.source}: {summary(job.task, card.metrics['test'])}"
    records.draw_curves(directory, position.history, position.best_epoch, job.task, title)
    page.leave(directory, task, report, job.dataset.splits["test"], runtime.model)
    shutil.rmtree(directory.training, ignore_errors=True)
    return card


class _Kept:
    """The model directory's state while a run goes on: a new model with its card, and no exports of the old one."""

    def __init__(self, job: Job, directory: ModelDir, resume: bool):
        self.directory, self.task, self.raw = directory, job.task, job.raw.distinct()
        known = tasks.facts(job.task)
        self.card = Card(
            architecture=job.architecture,
            columns=job.columns,
            labels=job.task.labels,
            task=known["task"],
            input=known["input"],
            options=known["options"],
            data={name: value for name, value in asdict(job.data).items() if name != "split_seed"}
            | {
                "split": job.dataset.division,
                "fingerprint": job.dataset.fingerprint(),
                "counts": job.dataset.counts(),
                "skipped": len(job.dataset.skipped),
            },
            recipe=job.recipe,
            versions=records.versions(),
        )
        self.monitor = [name.removeprefix("-") for name in job.task.monitor]
        if resume and directory.card.exists():
            kept = directory.read_card()
            self.card = replace(self.card, options=kept.options, metrics=kept.metrics, digests=kept.digests,
                                other=kept.other)  # fmt: skip

    def keep(self, model: keras.Model, row: dict, report: tasks.Report) -> None:
        self.card = replace(self.card, options=tasks.facts(self.task.settled(report))["options"])
        save(model, self.directory.model, card_about(self.card, self.directory.name))
        metrics = {"val": {name: row[f"val_{name}"] for name in self.monitor}, "epoch": row["epoch"]}
        if self.raw:  # not yet written
            write_table(self.directory.splits, self.raw.items())
            self.raw = {}
        self.card = replace(self.card, metrics=metrics, digests={"model.keras": sha256(self.directory.model)})
        self.directory.write_card(self.card)
        self.directory.retire_exports()
        self.directory.report.unlink(missing_ok=True)  # of another model


def summary(task: Task, metrics: Mapping) -> str:
    """Metrics of test in a line: test top-1 0.9855, top-5 1.0000 of 276."""
    shown = (f"{task.titles[name]} {metrics[name]:.4f}" for name in task.titles if name in metrics and name != "loss")
    return f"{called(metrics)} {', '.join(shown)} of {metrics['n']:,}"
