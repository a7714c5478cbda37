"""How transferable the layers are: the first n of a network that learned classes A, under one that learns classes B.

Yosinski et al., arXiv:1411.1792: "AnB" keeps the n transplanted stages as they are, "AnB+" lets them learn on; n = 0 is
a network that learns B alone. Every cell of (seed, n, kind) is a file, so that a study goes on where it was stopped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import keras
import numpy as np

from cnn_app import data as sources
from cnn_app import heads, registry
from cnn_app.artifacts import read_json, replacing, write_csv, write_json
from cnn_app.data import pipeline
from cnn_app.data.dataset import Dataset, Split
from cnn_app.errors import RecipeError, unknown
from cnn_app.recipe import Recipe, Schedule
from cnn_app.runtimes import answers
from cnn_app.runtimes.keras_model import KerasRuntime, load, save
from cnn_app.training import engine
from cnn_app.training.freeze_schedule import FreezeSchedule, Phase
from cnn_app.transfer import freezing

PLACE = re.compile(r"[^_]+(_unit\d+)?")  # what is transplanted as a whole, in the names of layers
KINDS = {"frozen": "kept as they are (AnB)", "tuned": "learn on (AnB+)"}
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Cell:
    """One training run on B; `n` stages come from the network that learned A."""

    seed: int
    n: int
    kind: str

    @property
    def file(self) -> str:
        return f"seed{self.seed}-{self.n:02d}-{self.kind}.json"


@dataclass(frozen=True)
class Task:
    """A half of the classes, as a data set of its own."""

    train: Split
    test: Split
    classes: tuple[str, ...]


def run(
    recipe: Recipe, directory: Path, data_dir: str | None = None, progress: pipeline.Progress | None = None
) -> list:
    """Run the cells that `directory` does not have yet, write cells.csv and transferability.png, and return all rows.

    Raises RecipeError if the directory has cells of another recipe.
    """
    study = recipe.transferability
    columns = {name: value for name, value in recipe.model.items() if name != "name"}
    image = recipe.data.image or registry.spec(recipe.model["name"], **columns).image
    columns["image"] = image
    data = replace(recipe.data, directory=recipe.data.directory or data_dir)
    dataset = pipeline.prepare(sources.load(data), image, skip_bad=data.on_bad_image == "skip", progress=progress)
    first, second = tasks(dataset, study.first, study.pictures, study.held_out)
    _claim(directory, {"model": recipe.model, "schedule": asdict(recipe.schedule), "study": asdict(study),
                       "data": dataset.fingerprint()})  # fmt: skip
    places = stages(_network(recipe, columns, first, seed=0))
    cells = [Cell(seed, n, kind) for seed in range(study.seeds) for n in range(len(places) + 1) for kind in KINDS
             if n or kind == "tuned"]  # fmt: skip
    rows, learned = [], {}
    for done, cell in enumerate(cells):
        if progress is not None:
            progress("cells", done, len(cells))
        path = directory / "cells" / cell.file
        if not path.is_file():
            model = _network(recipe, columns, second, cell.seed)
            schedule = replace(recipe.schedule, seed=cell.seed)
            if cell.seed not in learned:
                learned = {cell.seed: _learned(recipe, columns, first, directory, cell.seed)}
            kept = transplant(learned[cell.seed], model, places[: cell.n])
            fit(model, second, schedule, kept if cell.kind == "frozen" else frozenset())
            write_json(path, asdict(cell) | {"place": ("", *places)[cell.n], "top1": top1(model, second)})
            keras.backend.clear_session()
        rows.append(read_json(path))
    write_csv(directory / "cells.csv", rows)
    draw(rows, places, first, second, recipe.model["name"], directory / "transferability.png")
    return rows


def tasks(dataset: Dataset, first: Sequence[str], images: int, held_out: int) -> tuple[Task, Task]:
    """The classes named `first` (none: every other one) and the rest, each with so many images, evenly by class."""
    for name in first:
        if name not in dataset.classes:
            raise unknown("class", name, dataset.classes, RecipeError)
    first = first or dataset.classes[::2]
    halves = [tuple(c for c in dataset.classes if (c in first) == wanted) for wanted in (True, False)]
    if min(map(len, halves)) < 2:
        raise RecipeError(f"transferability needs two classes on either side, received {len(halves[0])} and "
                          f"{len(halves[1])}")  # fmt: skip
    return tuple(
        Task(*(_part(dataset, name, half, count) for name, count in (("train", images), ("test", held_out))), half)
        for half in halves
    )


def stages(model: keras.Model) -> list[str]:
    """Names of what can be transplanted, in order: stages or their units, without the head."""
    names = (layer.name for layer in model.layers if layer.weights and not freezing.is_head(layer.name))
    return list(dict.fromkeys(PLACE.match(name).group() for name in names))


def transplant(source: keras.Model, target: keras.Model, places: Sequence[str]) -> frozenset[str]:
    """Copy the layers of these stages, batch statistics included, and return their names."""
    names = frozenset(layer.name for layer in target.layers if PLACE.match(layer.name).group() in places)
    for name in names:
        target.get_layer(name).set_weights(source.get_layer(name).get_weights())
    return names


def fit(model: keras.Model, task: Task, schedule: Schedule, frozen: frozenset[str]) -> None:
    """Train without validation, checkpoints or progress: one short run of many."""
    engine.compile_model(model, schedule, FreezeSchedule((Phase(0, frozen),)))
    steps = pipeline.steps_per_epoch(task.train, schedule.batch)
    for epoch in range(schedule.epochs):
        batches = pipeline.training_batches(task.train, schedule.batch, len(task.classes), seed=schedule.seed,
                                            epoch=epoch, augment=schedule.augment)  # fmt: skip
        for step, (images, labels) in enumerate(batches.as_numpy_iterator(), start=epoch * steps):
            engine.train_step(model, images, labels, engine.learning_rate(schedule, step, steps))


def top1(model: keras.Model, task: Task) -> float:
    """The share of the task's held-out images that the model labels rightly."""
    return float((answers(KerasRuntime(model), task.test).argmax(1) == task.test.labels).mean())


def intervals(rows: list[dict], kind: str) -> list[tuple[int, float, float]]:
    """(n, mean top-1, half its 95 % confidence interval over seeds) for each n; n = 0 belongs to both kinds."""
    from scipy import stats

    found = []
    for n in sorted({row["n"] for row in rows}):
        values = np.array([row["top1"] for row in rows if row["n"] == n and (row["kind"] == kind or n == 0)])
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
        half = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * error if len(values) > 1 else 0.0
        found.append((n, float(values.mean()), float(half)))
    return found


def draw(rows: list[dict], places: list[str], first: Task, second: Task, network: str, path: Path) -> None:
    """The figure: top-1 on B against the number of transplanted stages, every seed as a dot."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure((10, 5.5), layout="constrained")
    axes = figure.add_subplot()
    base = intervals(rows, "tuned")[0]
    axes.axhline(base[1], color="0.4", linestyle=":", label="B alone (n = 0)")
    for shift, (kind, says) in zip((-0.06, 0.06), KINDS.items(), strict=True):
        n, mean, half = map(np.array, zip(*intervals(rows, kind), strict=True))
        line = axes.errorbar(n + shift, mean, half, marker="o", capsize=4, label=f"A's first n stages {says}")
        dots = [(row["n"] + shift, row["top1"]) for row in rows if row["kind"] == kind or row["n"] == 0]
        axes.scatter(*zip(*dots, strict=True), s=9, color=line[0].get_color(), alpha=0.5)
    axes.set_xticks(range(len(places) + 1), ["0\nnone", *(f"{n}\n{p.replace('_', chr(10))}" for n, p in
                                                           enumerate(places, start=1))], fontsize=8)  # fmt: skip
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set(xlabel="n: stages taken from the network that learned A, up to and including",
             ylabel=f"top-1 on B ({len(second.test):,} held-out images)")  # fmt: skip
    seeds = len({row["seed"] for row in rows})
    axes.set_title(f"{network}: A = {', '.join(first.classes)}; B = {', '.join(second.classes)}\n"
                   f"{len(second.train):,} training images; mean and {CONFIDENCE:.0%} interval of {seeds} seeds",
                   fontsize=9)  # fmt: skip
    axes.legend()
    with replacing(path) as scratch:
        figure.savefig(scratch, dpi=120, format="png")


def _network(recipe: Recipe, columns: dict, task: Task, seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return heads.build("classification", recipe.model["name"], columns | {"classes": len(task.classes)})


def _learned(recipe: Recipe, columns: dict, task: Task, directory: Path, seed: int) -> keras.Model:
    """The network that learned A from this seed; it is trained once."""
    path = directory / "cells" / f"seed{seed}-A.keras"
    if not path.is_file():
        model = _network(recipe, columns, task, seed)
        fit(model, task, replace(recipe.schedule, seed=seed), frozenset())
        save(model, path)
    return load(path)


def _part(dataset: Dataset, split: str, classes: tuple[str, ...], count: int) -> Split:
    """`count` images of these classes, with labels from 0."""
    whole = dataset.splits[split]
    wanted = [dataset.classes.index(name) for name in classes]
    part = whole.take(np.flatnonzero(np.isin(whole.labels, wanted)))
    part = part.take(pipeline.stratified(part, count))
    return replace(part, labels=np.searchsorted(wanted, part.labels))


def _claim(directory: Path, settings: dict) -> None:
    """Say whose cells these are, or find that it has been said."""
    settings, path = json.loads(json.dumps(settings)), directory / "study.json"
    if not path.is_file():
        return write_json(path, settings)
    before = read_json(path)
    for name, value in settings.items():
        if before.get(name) != value:
            received = f"{before.get(name)!r}, now {value!r}"
            raise RecipeError(f"{directory} has cells of another {name}, {received}; --overwrite starts anew")
    return None
