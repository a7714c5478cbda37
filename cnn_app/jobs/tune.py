"""A search over a recipe: trials of what its [tune] leaves open, and the best of them as a recipe."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import keras

from cnn_app import recipe as recipes
from cnn_app import tasks
from cnn_app.analysis.complexity import complexity
from cnn_app.artifacts import ModelDir
from cnn_app.atomic import write_text
from cnn_app.data.pipeline import Progress
from cnn_app.errors import CnnAppError, DataError, TrainingError
from cnn_app.export.graph import deployable
from cnn_app.export.quantization import strategies
from cnn_app.export.verification import timed
from cnn_app.heads import plain as without_auxiliary
from cnn_app.jobs import run as running
from cnn_app.jobs import tried
from cnn_app.jobs.train import Job
from cnn_app.recipe import Recipe
from cnn_app.training import engine, trials
from cnn_app.training.engine import Watch
from cnn_app.training.records import read_history
from cnn_app.training.stopping import Stopped

if TYPE_CHECKING:
    from cnn_app.training.search import Search, Trial

CALIBRATION = 32  # records that set the ranges of a file that is only timed
BEST, TABLE, PICTURE, RECIPE = "best.toml", "trials.csv", "search.png", "recipe.toml"
NEEDED = ("optuna", "tomli_w")


@dataclass(frozen=True)
class Telling:
    """How a search shows its parts; the default says nothing."""

    reading: Callable[[], AbstractContextManager[Progress | None]] = nullcontext
    training: Callable[[int, int, str], AbstractContextManager[Watch | None]] = lambda epochs, batch, of: nullcontext()
    trial: Callable[[dict], None] = lambda row: None  # that has ended


@dataclass(frozen=True)
class Found:
    """What a search has found so far."""

    rows: list[dict]  # a line for each trial: its number, how it ended, metric, cost, and what was drawn
    best: list[int]  # the numbers of the trials on the front by their cost, or of the best one
    metric: str  # the task's main one, on val
    cost: str | None  # the second objective
    recipe: Path | None  # of the trial with the best metric; None where none is finished yet


class _Hopeless(CnnAppError):
    """A trial that is worse than most were."""


def tune(
    recipe: str | os.PathLike[str] | Recipe, store: str | os.PathLike[str] = "searches", *,
    data_dir: str | None = None, telling: Telling | None = None,
) -> Found:  # fmt: skip
    """Try what the [tune] of a recipe leaves open, and write the best as `store`/name/best.toml, which `run` takes.

    A search that was stopped goes on. Processes that are given the same recipe and store share the trials.

    recipe: a TOML file, the name of one that comes with cnn-app, or a `recipe.Recipe`.
    store: where searches lie.
    data_dir: where TFDS sets lie, if the recipe does not say.
    telling: how its parts are shown; by default not at all.

    Raises RecipeError for ranges that make no sense, before any work, and TrainingError where no trial could be
    finished, or where what lies in `store` is a search over another recipe.
    """
    telling, recipe = telling or Telling(), recipe if isinstance(recipe, Recipe) else recipes.find(recipe)
    task = tried.check(recipe)
    assert recipe.tune
    if lacking := [name for name in NEEDED if find_spec(name) is None]:
        raise TrainingError(f"a search needs {lacking[0]}: pip install 'cnn-app[tune]'")
    search = opened(recipe, task, Path(store))
    placed = replace(recipe, data=replace(recipe.data, directory=recipe.data.directory or data_dir))
    while True:
        with search.claimed(recipe.tune.trials) as trial:
            if trial is None:
                break
            carry_out(search, trial, placed, telling)
        found = written(search, recipe, task)
        telling.trial(found.rows[trial.number])
    found = written(search, recipe, task)
    if found.recipe is None and not any(row[trials.STATE] == trials.RUNNING for row in found.rows):
        raise TrainingError(
            f"none of {len(found.rows)} trials could be finished; the last one: {found.rows[-1]['why']}"
        )
    return found


def opened(recipe: Recipe, task: type[tasks.Task], store: Path) -> Search:
    from cnn_app.training.search import Search

    assert recipe.tune
    directions = ["minimize" if _lower(task) else "maximize", *["minimize"] * bool(recipe.tune.cost)]
    patience = recipe.schedule.epochs // 4
    search = Search(store / recipe.name, tried.ranges_of(recipe), directions, recipe.tune.seed, patience)
    same = replace(recipe, about="", tune=replace(recipe.tune, trials=1))  # more trials make it longer
    search.check("recipe", tried.plain(same))
    return search


def carry_out(search: Search, trial: Trial, recipe: Recipe, telling: Telling) -> None:
    """Train one trial, or go on with it, and say in the journal how it ended; a signal leaves it to be gone on with."""
    from cnn_app.training.search import FAILED, Differs, TrialState, values

    assert recipe.tune
    chosen = tried.with_values(recipe, values(trial))
    directory = search.directory(trial.number)
    write_text(directory.path / RECIPE, tried.toml(replace(chosen, name=f"{recipe.name}-{trial.number:04}")))
    keras.backend.clear_session()  # the trial before
    try:
        with telling.reading() as progress:
            job = running.planned(chosen, progress)
        search.check("data", job.dataset.fingerprint())
        cost = trial.user_attrs.get(recipe.tune.cost) or _cost(job, recipe.tune.cost)
        if cost is not None:
            trial.set_user_attr(recipe.tune.cost, cost)
        row = _trained(trial, job, directory, telling)
    except (Stopped, DataError, Differs):  # no fault of the trial
        raise
    except _Hopeless:
        search.study.tell(trial, state=TrialState.PRUNED)
    except CnnAppError as error:
        trial.set_user_attr(FAILED, str(error))
        search.study.tell(trial, state=TrialState.FAIL)
    else:
        trial.set_user_attr("epoch", row["epoch"])
        metric = row[_on_val(job.task)]
        search.study.tell(trial, metric if cost is None else [metric, cost])
    shutil.rmtree(directory.training, ignore_errors=True)


def _trained(trial: Trial, job: Job, directory: ModelDir, telling: Telling) -> dict:
    """The row of the best epoch."""
    known = set(trial.study.trials[trial.number].intermediate_values)

    def look(rows: list[dict]) -> None:
        """Report what was not yet, also of a process that died before it could; one objective alone is compared."""
        for row in rows if len(trial.study.directions) == 1 else ():
            if (epoch := int(row["epoch"])) not in known:
                known.add(epoch)
                trial.report(float(row[_on_val(job.task)]), epoch)
                if trial.should_prune():
                    raise _Hopeless

    resume = any(directory.training.glob("*.npz"))
    if resume:
        look(read_history(directory))
    with telling.training(job.schedule.epochs, job.schedule.batch, job.task.input.plural) as watch:
        told = replace(watch or Watch(), epoch=lambda row: look([row]))
        position = engine.train(
            job.model, job.task, job.dataset, job.schedule, directory, job.settings, lambda *kept: None,
            freeze=job.freeze, learned=job.learned, resume=resume, watch=told, teacher=job.teacher,
        )  # fmt: skip
    return next(row for row in position.history if row["epoch"] == position.best_epoch)


def _cost(job: Job, cost: str | None) -> float | None:
    """What the network of a trial takes for a record, whatever its weights are."""
    if cost is None:
        return None
    if cost == "multiply_adds":
        return complexity(without_auxiliary(job.model)).macs
    split, model = job.dataset.splits["train"], deployable(job.model)
    ways = strategies.attempts(strategies.INT8, job.task, model, lambda n: job.task.calibration(job.model, split, n),
                               CALIBRATION)  # fmt: skip
    with TemporaryDirectory() as folder:
        file = Path(folder, "trial.tflite")
        next(iter(next(ways))).write(file)
        return timed(file).median_ms


def written(search: Search, recipe: Recipe, task: type[tasks.Task]) -> Found:
    """The table, the picture and the best recipe, as things stand."""
    from cnn_app.training.search import best, row

    assert recipe.tune
    metric, cost = task.monitor[0].removeprefix("-"), recipe.tune.cost
    rows = [row(trial, metric, cost) for trial in search.trials]
    front = sorted(best(search), key=lambda number: rows[number].get(cost) or 0)
    trials.write(search.folder / TABLE, rows)
    if front:
        title = f"{recipe.name}: {recipe.model['name']} on {recipe.data.source}"
        trials.draw(rows, metric, cost, front, task.titles, _lower(task), title, search.folder / PICTURE)
        top = (min if _lower(task) else max)(front, key=lambda number: rows[number][metric])
        found = replace(recipes.read(search.directory(top).path / RECIPE), name=recipe.name)
        write_text(search.folder / BEST, f"# trial {top} of {len(rows)}: {metric} {rows[top][metric]:.4f} on val\n"
                                         f"{tried.toml(found)}")  # fmt: skip
    return Found(rows, front, metric, cost, search.folder / BEST if front else None)


def _lower(task: type[tasks.Task]) -> bool:
    """Whether less of its main metric is better."""
    return task.monitor[0].startswith("-")


def _on_val(task: tasks.Task) -> str:
    return f"val_{tasks.main_metric(task)}"
