"""A recipe carried out: train, export, verify, and hold the result against its acceptance."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from cnn_app import cluster, lock, registry, tasks
from cnn_app import recipe as recipes
from cnn_app.analysis import report
from cnn_app.artifacts import Card, ModelDir, training_directory
from cnn_app.atomic import one_writer
from cnn_app.data.dataset import called
from cnn_app.data.pipeline import Progress
from cnn_app.errors import ArtifactError, RecipeError, TrainingError, unknown
from cnn_app.export import run as exporting
from cnn_app.export.targets import target
from cnn_app.export.verification import Comparison
from cnn_app.jobs import finetune, sources
from cnn_app.jobs import train as training
from cnn_app.jobs.distil import taught
from cnn_app.recipe import Recipe
from cnn_app.training import loggers
from cnn_app.training.engine import Watch
from cnn_app.training.step.devices import chosen
from cnn_app.transfer import transferability


@dataclass(frozen=True)
class Telling:
    """How a run shows its parts; the default says nothing."""

    reading: Callable[[], AbstractContextManager[Progress | None]] = nullcontext
    training: Callable[[int, int, str], AbstractContextManager[Watch | None]] = lambda epochs, batch, of: nullcontext()
    trained: Callable[[ModelDir, Card, tasks.Task], None] = lambda directory, card, task: None
    exporting: Callable[[], AbstractContextManager[Callable[[Comparison], None]]] = lambda: nullcontext(lambda r: None)


def run(
    recipe: str | os.PathLike[str] | Recipe, store: str | os.PathLike[str] = "saved_models", *,
    data_dir: str | None = None, resume: bool = False, overwrite: bool = False, telling: Telling | None = None,
    devices: str | None = None, logs: tuple[str, ...] = (),
) -> Card | list[dict]:  # fmt: skip
    """Carry out a recipe into `store`/name: the card of its model, or the rows of its study.

    recipe: a TOML file, the name of one that comes with cnn-app, or a `recipe.Recipe`.
    store: where model directories lie.
    data_dir: where TFDS sets lie, if the recipe does not say.
    resume: go on with a run that was stopped, to the same result.
    overwrite: replace the model that is there.
    telling: how its parts are shown; by default not at all.
    devices, logs: as in `train`.

    Raises RecipeError for a recipe that cannot be carried out, before training; TrainingError where the acceptance is
    not reached; ExportError as `export` does.
    """
    telling = telling or Telling()
    recipe = recipe if isinstance(recipe, Recipe) else recipes.find(recipe)
    if recipe.kind == "study":
        return study(recipe, Path(store) / recipe.name, data_dir=data_dir, overwrite=overwrite, telling=telling)
    check(recipe, recipe.model["name"])
    if (found := cluster.here()) and not found.is_chief:
        recipe = replace(recipe, export=None, acceptance={})  # the chief's
    with training_directory(Path(store) / recipe.name, resume=resume, overwrite=overwrite) as directory:
        loggers.check(logs)
        means = {"devices": chosen(devices), "logs": logs}
        return _carry_out(recipe, directory, data_dir, resume, telling, means)


def _carry_out(
    recipe: Recipe, directory: ModelDir, data_dir: str | None, resume: bool, telling: Telling, means: Mapping
) -> Card:
    data = replace(recipe.data, directory=recipe.data.directory or data_dir)
    with telling.reading() as progress:
        job = replace(planned(replace(recipe, data=sources.resumed(data, directory, resume)), progress), **means)
    with telling.training(job.schedule.epochs, job.schedule.batch, job.task.input.plural) as watch:
        card = training.run(job, directory, resume=resume, watch=watch)
    telling.trained(directory, card, job.task)
    if recipe.export:
        with telling.exporting() as tell, telling.training(recipe.export.qat_epochs, 0, "") as watch:
            with directory.writing(exporting="saved_model" in recipe.export.targets):
                task = tasks.of_card(card)
                try:
                    exporting.export(directory, recipe.export, task, job.dataset, tell, watch, force=True)
                finally:
                    report.refresh(directory)
    accept(recipe, job.task, card.metrics["test"])
    return card


def planned(recipe: Recipe, progress: Progress | None = None) -> training.Job:
    """Its network and data, before the first step."""
    name, columns = recipe.model["name"], columns_of(recipe)
    if recipe.transfer:
        job = finetune.prepare(name, columns, recipe.data, recipe.schedule, recipe.transfer, recipe.task, progress)
    else:
        job = training.plan(name, columns, recipe.data, recipe.schedule, recipe.task, progress)
    return taught(job, recipe.distillation)


def columns_of(recipe: Recipe) -> dict:
    return {key: value for key, value in recipe.model.items() if key != "name"}


def check(recipe: Recipe, name: str) -> type[tasks.Task]:
    """What is misspelt must not cost a training run. The class of the recipe's task."""
    for wanted in recipe.export.targets if recipe.export else ():
        target(wanted)
    known = ModelDir(name)
    task = known.read_card().task if known.card.is_file() else registry.family(name).VARIANTS[name].task
    kind = tasks.named(recipe.task.get(tasks.NAME, task))
    for metric, wanted in recipe.acceptance.items():
        if metric not in kind.titles:
            raise unknown("metric of [acceptance]", metric, kind.titles, RecipeError)
        is_share = not kind.relative and f"-{metric}" not in kind.monitor
        if is_share and not 0 <= wanted <= 1:
            raise RecipeError(f"[acceptance] {metric} lies between 0 and 1, received {wanted}")
    return kind


def accept(recipe: Recipe, task: tasks.Task, metrics: dict) -> None:
    """Raise TrainingError for a metric that is not reached."""
    for name, wanted in recipe.acceptance.items():
        lower = f"-{name}" in task.monitor
        if metrics[name] > wanted if lower else metrics[name] < wanted:
            reached = f"{called(metrics)} {task.titles[name]} {metrics[name]:.4f}"
            raise TrainingError(f"{recipe.name} reached {reached}; its recipe asks for {wanted}")


def study(recipe: Recipe, directory: Path, *, data_dir: str | None, overwrite: bool, telling: Telling) -> list[dict]:
    """Run the cells of a transferability study that are not there yet."""
    with one_writer(directory, ArtifactError), telling.reading() as progress:
        if overwrite and (directory / "study.json").is_file():
            for old in directory.iterdir():
                if old.name != lock.NAME:
                    shutil.rmtree(old) if old.is_dir() else old.unlink()
        return transferability.run(recipe, directory, data_dir, progress)
