"""Networks side by side, and how long a record takes in each format."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import keras
import numpy as np

from cnn_app import heads, registry, tasks
from cnn_app.analysis import comparison
from cnn_app.analysis.comparison import Compared
from cnn_app.analysis.unweighted import network
from cnn_app.artifacts import ModelDir, is_model
from cnn_app.errors import ModelError
from cnn_app.export.graph import deployable
from cnn_app.export.targets import TARGETS
from cnn_app.jobs.opened import opened_as
from cnn_app.runtimes.about import About
from cnn_app.runtimes.keras_model import load, save
from cnn_app.runtimes.latency import Speed, measure
from cnn_app.tasks import Task

KERAS = "keras"
MEASURED = ("tflite-float32", "tflite-int8", "onnx")  # beside Keras
RECORDS = 4  # random ones, that ranges of int8 files are set by: they change no time
CHARTED = 4  # networks that fit side by side


@dataclass(frozen=True)
class Comparison:
    """What was counted of each network, its times by format where they were asked for, and charts."""

    networks: list[Compared]
    speeds: dict[str, dict[str, Speed]]  # network -> format -> time of one record
    charts: list[Path]


def compare(
    names: Sequence[str | os.PathLike[str]], *, out: str | os.PathLike[str] | None = None, timed: bool = False,
    threads: int = 1, tell: Callable[[str], None] | None = None,
) -> Comparison:  # fmt: skip
    """Count what networks cost, and measure or look up what they reach.

    names: of `list_models()`, model directories, or .keras files.
    out: a folder for charts, as PNG and SVG: costs by layer of up to four networks, accuracy over multiply-adds.
    timed: also time one record in Keras, TFLite float32 and int8, and ONNX, all in turns. Networks that were named
        have random weights then, which take the same time.
    threads: of each.
    tell: told of each file that is written for that.

    Accuracies are those of the cards' test splits, and for names what their source has published.

    Raises UnknownName for a network that is not there, ModelError for one that is given twice.
    """
    names = [os.fspath(name) for name in names]
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise ModelError(f"{twice[0]} is given twice; give each network once")
    models = {name: _model(name) for name in names}
    networks = [_compared(name, model) for name, model in models.items()]
    speeds = _timed(models, threads, tell or (lambda line: None)) if timed else {}
    charts = []
    if out is not None:
        charts = comparison.draw_layers(networks, Path(out)) if len(networks) <= CHARTED else []
        charts += comparison.draw_accuracy(networks, Path(out))
    return Comparison(networks, speeds, charts)


def _model(name: str) -> keras.Model:
    """For counting; its weights have no values where it was named."""
    return load(name) if is_model(name) else network(name)


def _compared(name: str, model: keras.Model) -> Compared:
    if not is_model(name):
        return comparison.compared(name, comparison.family_of(name), model, comparison.published(name))
    directory = ModelDir(name)
    card = directory.read_card() if directory.card.is_file() else None
    family = comparison.family_of(card.architecture if card else model.name)
    return comparison.compared(name, family, model, comparison.of_card(card) if card else None)


def _timed(models: dict[str, keras.Model], threads: int, tell) -> dict[str, dict[str, Speed]]:
    with tempfile.TemporaryDirectory() as folder:
        files: dict[tuple[str, str], Path] = {}
        for number, (name, model) in enumerate(models.items()):
            task, known = _task(name, model)
            for target in (KERAS, *MEASURED):
                tell(f"{name}: {target}")
                files[name, target] = _written(task, known, target, Path(folder) / f"{number}")
        found = measure(files.values(), [threads], trust=True)  # they were just written here
    speeds: dict[str, dict[str, Speed]] = {name: {} for name in models}
    for (name, target), speed in zip(files, found, strict=True):
        speeds[name][target] = replace(speed, path=name)
    return speeds


def _task(name: str, model: keras.Model) -> tuple[Task, keras.Model]:
    if is_model(name):
        return opened_as(model)[1], model
    row = registry.spec(name)
    task = tasks.of_row(row, {}, {})
    labels = tuple(map(str, range(row.classes)))
    return replace(task, labels=labels if task.labelled else ()), heads.build(name, {})


def _written(task: Task, model: keras.Model, target: str, stem: Path) -> Path:
    if target == KERAS:
        path = stem.with_suffix(".keras")
        save(model, path, About(**tasks.facts(task), name=model.name))
        return path
    kind = TARGETS[target]
    path = stem.with_name(f"{stem.name}-{target}").with_suffix(".onnx" if kind.module == "onnx" else ".tflite")
    draw = np.random.default_rng(0)
    records = {name: draw.integers(0, 256, (RECORDS, *spec.shape[1:])).astype(spec.dtype)
               for name, spec in task.input.specs().items()}  # fmt: skip
    import_module(f"cnn_app.export.{kind.module}").write(task, deployable(model), path, kind, records)
    return path
