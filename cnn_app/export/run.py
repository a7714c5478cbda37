"""The main job's second half: a model directory in, verified files out. What fails its check is not published."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from cnn_app.artifacts import ModelDir, replacing, sha256
from cnn_app.data import pipeline
from cnn_app.data.dataset import Dataset, Split
from cnn_app.errors import ExportError
from cnn_app.export import golden, metadata, tflite, warmup
from cnn_app.export import targets as table
from cnn_app.export.graph import deployable
from cnn_app.export.quantization import qat, sensitivity, simulation, strategies
from cnn_app.export.verification import Comparison, compare
from cnn_app.recipe import Export
from cnn_app.runtimes import answers, open_model
from cnn_app.runtimes.keras_model import KerasRuntime, load
from cnn_app.training.engine import Watch

VERIFIED = 1000  # held-out images at most


@dataclass(frozen=True)
class _Bench:
    """What every file of a model is held against."""

    directory: ModelDir
    options: Export
    force: bool
    about: metadata.About
    pixels: np.ndarray  # of the held-out images, uint8 (n, H, W, C)
    labels: np.ndarray
    reference: np.ndarray  # the Keras model's probabilities (n, classes)
    tell: Callable[[Comparison], None]


def export(
    directory: ModelDir, options: Export, dataset: Dataset, tell: Callable[[Comparison], None] = lambda result: None,
    watch: Watch | None = None, *, force: bool = False,
) -> list[Comparison]:  # fmt: skip
    """Write every target, compare it with the Keras model, and publish it if it keeps within `options.max_drop`.

    `tell` hears of every file that was tried, `watch` of quantization-aware training. `force` replaces files.
    Raises ExportError before any work where a target cannot be written, and after the last target if any was refused;
    those that passed are published all the same.
    """
    for name in options.targets:
        _refuse_existing(table.place(directory, name), force)
    model = load(directory.path)
    copy = deployable(model)
    for name in options.targets:
        if obstacle := tflite.obstacle(copy, table.target(name)):
            raise ExportError(f"{name} has no kernel for {obstacle}; take tflite-int8, which leaves it in float")
    if options.qat_epochs and (obstacle := simulation.obstacle(simulation.folded(copy))):
        raise ExportError(f"{directory.path}: {obstacle} cannot learn to round; leave out --qat-epochs")
    held_out = dataset.splits["test"].take(pipeline.stratified(dataset.splits["test"], VERIFIED))
    train, refused, results = dataset.splits["train"], [], []
    bench = _Bench(directory, options, force, _about(directory, options), pixels_of(held_out), held_out.labels,
                   answers(KerasRuntime(model), held_out), tell)  # fmt: skip
    schedule = qat.schedule(directory.read_card(), options.qat_epochs) if options.qat_epochs else None
    tuning = qat.Tuning(dataset, schedule, watch or Watch()) if schedule else None

    def images(count: int) -> np.ndarray:
        return pixels_of(train.take(pipeline.stratified(train, count)))

    for name in options.targets:
        try:
            results.append(_climb(name, strategies.attempts(name, copy, images, options.calibration, tuning), bench))
        except ExportError as error:
            refused.append(str(error))
    if refused:
        raise ExportError("; ".join(refused))
    return results


class _TooMuch(Exception):
    """A file lost more than the budget; the next strategy is tried."""


def _climb(name: str, attempts: Iterable[strategies.Attempt], bench: _Bench) -> Comparison:
    """Publish the first attempt that keeps within the budget."""
    tried: list[Comparison] = []
    for attempt in attempts:
        with suppress(_TooMuch):
            return _publish(attempt, bench, tried)
    raise ExportError(_refusal(name, tried, bench.options))


def _publish(attempt: strategies.Attempt, bench: _Bench, tried: list[Comparison]) -> Comparison:
    target, place = table.target(attempt.target), table.place(bench.directory, attempt.target)
    _refuse_existing(place, bench.force)
    with replacing(place) as scratch:
        attempt.write(scratch)
        facts: dict = {"metadata": metadata.attach(scratch, bench.about), "float_layers": attempt.float_layers}
        result = compare(attempt.target, scratch, bench.pixels, bench.labels, bench.reference, attempt.strategy)
        bench.tell(result)
        tried.append(result)
        if result.drop > bench.options.max_drop + 1e-9:
            raise _TooMuch
        if scratch.is_dir():
            golden.write(scratch, target, bench.pixels, bench.reference)
            facts["warmup"] = warmup.write(scratch, bench.pixels)
    if place.is_file():
        golden.write(place, target, bench.pixels, bench.reference)
    if attempt.errors:
        sensitivity.write_report(place.with_suffix(".layers.csv"), attempt.errors)
    if attempt.simulation is not None:
        facts["simulation"] = _agreement(place, attempt.simulation, bench.pixels)
    _record(bench.directory, place, result, facts)
    return result


def _refuse_existing(place: Path, force: bool) -> None:
    if place.exists() and not force:
        raise ExportError(f"{place} exists; --force replaces it")


def _refusal(name: str, tried: list[Comparison], options: Export) -> str:
    best = min(tried, key=lambda result: result.drop)
    way_out = (
        "let it learn to round with --qat-epochs 3, or " if name == strategies.INT8 and not options.qat_epochs else ""
    )
    ways = f" at best, in {len(tried)} ways" if len(tried) > 1 else ""
    return (
        f"{name} loses {best.drop:.2f} points of top-1 ({best.keras_top1:.4f} to {best.top1:.4f} on {best.n} images)"
        f"{ways}, more than --max-drop {options.max_drop:g}; it was not written: {way_out}ship tflite-float16"
    )


def _about(directory: ModelDir, options: Export) -> metadata.About:
    card = directory.read_card()
    return metadata.About(
        name=directory.name, description=f"{card.architecture} for {len(card.labels)} classes", labels=card.labels,
        image=card.image, author=options.author, license=options.license, version=options.version,
        data_sha256=card.data.get("fingerprint", ""), model_sha256=sha256(directory.model),
    )  # fmt: skip


def _record(directory: ModelDir, place: Path, result: Comparison, facts: dict) -> None:
    line = {"path": str(place.relative_to(directory.path)), "sha256": sha256(place), "model": sha256(directory.model)}
    line |= facts
    if place.suffix == ".tflite":
        line["min_runtime"] = tflite.min_runtime(place)
    directory.add_exports([line | result.as_json()])


def _agreement(place: Path, model: keras.Model, pixels: np.ndarray) -> dict:
    """How well the file repeats the model that it was trained as."""
    found, wanted = open_model(place).predict(pixels), KerasRuntime(model).predict(pixels)
    return {"agreement": float((found.argmax(1) == wanted.argmax(1)).mean()),
            "max_difference": float(np.abs(found - wanted).max())}  # fmt: skip


def pixels_of(split: Split) -> np.ndarray:
    """All images of a prepared split, uint8 (n, H, W, C)."""
    return np.concatenate(list(pipeline.arrays(split, 64)))
