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

from cnn_app import heads, registry, tasks
from cnn_app.artifacts import read_json
from cnn_app.atomic import write_csv, write_json
from cnn_app.data import pipeline
from cnn_app.data.dataset import Dataset, Split, in_memory
from cnn_app.errors import RecipeError, unknown
from cnn_app.recipe import Recipe, Schedule
from cnn_app.runtimes.keras_model import KerasRuntime, load, save
from cnn_app.tasks import Task
from cnn_app.tasks.classification import TARGET
from cnn_app.tasks.drawing import save as save_figure
from cnn_app.training import engine
from cnn_app.training.checkpoint import Position
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
class Half:
    """A half of the classes, as a task and data of its own."""

    task: Task
    train: Split
    test: Split


def run(
    recipe: Recipe, directory: Path, data_dir: str | None = None, progress: pipeline.Progress | None = None
) -> list:
    """Run the cells that `directory` does not have yet, write cells.csv and transferability.png, and return all rows.

    Raises RecipeError if the directory has cells of another recipe.
    """
    study = recipe.transferability
    columns = {name: value for name, value in recipe.model.items() if name != "name"}
    row = registry.spec(recipe.model["name"], **columns)
    data = replace(recipe.data, directory=recipe.data.directory or data_dir)
    whole = tasks.of_row(row, recipe.task, {})
    dataset = whole.load(data)
    whole = whole.fitted(dataset)
    columns |= whole.input.columns()
    skip = data.on_bad_image == "skip"
    dataset = pipeline.prepare(dataset, whole.converters(), skip_bad=skip, progress=progress)
    first, second = halves(whole, dataset, study.first, study.pictures, study.held_out)
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


def halves(task: Task, dataset: Dataset, first: Sequence[str], records: int, held_out: int) -> tuple[Half, Half]:
    """The classes named `first` (none: every other one) and the rest, each with so many records, evenly by class."""
    if TARGET not in dataset.splits["train"].targets:
        raise RecipeError(f"transferability needs one class for each record, which {task.name} does not have")
    for name in first:
        if name not in dataset.labels:
            raise unknown("class", name, dataset.labels, RecipeError)
    first = first or dataset.labels[::2]
    parts = [tuple(label for label in dataset.labels if (label in first) == wanted) for wanted in (True, False)]
    if min(map(len, parts)) < 2:
        raise RecipeError(f"transferability needs two classes on either side, received {len(parts[0])} and "
                          f"{len(parts[1])}")  # fmt: skip
    return tuple(
        Half(replace(task, labels=part), *(_part(dataset, name, part, count) for name, count in
                                          (("train", records), ("test", held_out))))
        for part in parts
    )  # fmt: skip


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


def fit(model: keras.Model, half: Half, schedule: Schedule, frozen: frozenset[str]) -> None:
    """Train without validation, checkpoints or progress: one short run of many."""
    run = engine.stepper(model, half.task, half.train, schedule, FreezeSchedule((Phase(0, frozen),)))
    stream, position = half.task.stream(model, half.train, schedule), Position()
    for _ in range(schedule.epochs):
        for _ in engine.passed(run, stream, schedule, position):
            pass
        position.sums = {}
    run.sync()


def top1(model: keras.Model, half: Half) -> float:
    """The share of the half's held-out records that the model labels rightly."""
    return engine.measure(half.task, KerasRuntime(half.task.deployed(model)), half.test).metrics["top1"]


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


def draw(rows: list[dict], places: list[str], first: Half, second: Half, network: str, path: Path) -> None:
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
    axes.set_title(f"{network}: A = {', '.join(first.task.labels)}; B = {', '.join(second.task.labels)}\n"
                   f"{len(second.train):,} training images; mean and {CONFIDENCE:.0%} interval of {seeds} seeds",
                   fontsize=9)  # fmt: skip
    axes.legend()
    save_figure(figure, path)


def _network(recipe: Recipe, columns: dict, half: Half, seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return heads.build(recipe.model["name"], columns | {"classes": len(half.task.labels)})


def _learned(recipe: Recipe, columns: dict, half: Half, directory: Path, seed: int) -> keras.Model:
    """The network that learned A from this seed; it is trained once."""
    path = directory / "cells" / f"seed{seed}-A.keras"
    if not path.is_file():
        model = _network(recipe, columns, half, seed)
        fit(model, half, replace(recipe.schedule, seed=seed), frozenset())
        save(model, path)
    return load(path)


def _part(dataset: Dataset, split: str, classes: tuple[str, ...], count: int) -> Split:
    """`count` images of these classes, with places from 0."""
    whole = dataset.splits[split]
    wanted = [dataset.labels.index(name) for name in classes]
    part = whole.take(np.flatnonzero(np.isin(whole.targets[TARGET].array, wanted)))
    part = part.take(pipeline.stratified(part.targets[TARGET].array, count))
    return replace(part, targets={TARGET: in_memory(np.searchsorted(wanted, part.targets[TARGET].array))})


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
