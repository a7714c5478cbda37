"""The main job's second half: a model directory in, verified files out. What fails its check is not published."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np

from cnn_app import tasks
from cnn_app.artifacts import ModelDir, sha256
from cnn_app.atomic import replacing
from cnn_app.data import pipeline
from cnn_app.data.dataset import Dataset
from cnn_app.errors import ExportError
from cnn_app.export import budget, choice, golden, metadata, parts, tflite, warmup
from cnn_app.export import targets as table
from cnn_app.export.graph import deployable
from cnn_app.export.quantization import qat, sensitivity, simulation, strategies
from cnn_app.export.verification import Comparison, Reference, compare, timed
from cnn_app.recipe import Export
from cnn_app.runtimes import familiarity, open_model
from cnn_app.runtimes.about import About
from cnn_app.runtimes.keras_model import KerasRuntime, load
from cnn_app.tasks import Task
from cnn_app.tensors import Arrays
from cnn_app.training.engine import Watch

VERIFIED = 1000  # held-out records at most, where no confidence is asked for
VERIFIED_BYTES = 2**29  # of their outputs at most, which for dense ones are fewer records


@dataclass(frozen=True)
class _Bench:
    """What every file of a model is held against."""

    directory: ModelDir
    options: Export
    force: bool
    about: About
    reference: Reference
    choice: Reference  # by which integer files are chosen; `reference` where val is the test
    tell: Callable[[Comparison], None]
    deployed: keras.Model  # a copy of the network as graph.deployable makes it, with what its familiarity is


def export(
    directory: ModelDir, options: Export, task: Task, dataset: Dataset,
    tell: Callable[[Comparison], None] = lambda result: None, watch: Watch | None = None, *, force: bool = False,
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
    copy.familiarity = familiarity.read(directory)
    for name in options.targets:
        if obstacle := tflite.obstacle(copy, table.target(name)):
            raise ExportError(f"{name} has no kernel for {obstacle}; take tflite-int8, which leaves it in float")
    if options.qat_epochs and (obstacle := simulation.obstacle(simulation.folded(copy))):
        raise ExportError(f"{directory.path}: {obstacle} cannot learn to round; leave out --qat-epochs")
    refused, results = [], []
    proof = reference(task, model, dataset, most=VERIFIED if options.confidence is None else None)
    if options.confidence:
        _refuse_too_few(proof, options)
    is_chosen = any(table.target(name).calibrated for name in options.targets) and not proof.figures
    val = reference(task, model, dataset, "val") if is_chosen else proof
    bench = _Bench(directory, options, force, _about(directory, options), proof, val, tell, copy)
    schedule = qat.schedule(directory.read_card(), options.qat_epochs) if options.qat_epochs else None
    tuning = qat.Tuning(dataset, schedule, watch or Watch()) if schedule else None

    def records(count: int) -> Arrays:
        return task.calibration(model, dataset.splits["train"], count)

    for name in options.targets:
        tiers = strategies.attempts(name, task, copy, records, options.calibration, tuning)
        try:
            results.append(_written(name, tiers, bench))
        except ExportError as error:
            refused.append(str(error))
    if refused:
        raise ExportError("; ".join(refused))
    return results


def reference(task: Task, model: keras.Model, dataset: Dataset, split: str = "test", most: int | None = VERIFIED,
              ) -> Reference:  # fmt: skip
    """What the Keras model says to records of a split, to `most` of them or to all."""
    runtime = KerasRuntime(task.deployed(model))
    row = sum(int(np.prod(spec.shape[1:])) * np.dtype(spec.dtype).itemsize for spec in runtime.outputs.values())
    most = len(dataset.splits[split]) if most is None else most
    records = dataset.splits[split]
    inputs, targets = pipeline.sample(records, task.strata(records), max(8, min(most, VERIFIED_BYTES // row)))
    measured = tasks.answers(task, task.measured(runtime), inputs, targets)
    outputs, metrics = {name: measured[name] for name in runtime.outputs}, task.measure([(measured, targets)]).metrics
    figures = {"split": "val"} if split == "val" else dataset.figures(split, {})
    return Reference(task, inputs, targets, measured, outputs, metrics, figures)


def _refuse_too_few(proof: Reference, options: Export) -> None:
    """Before any file is written: with so few records no file could be within the budget."""
    least = budget.smallest(options.max_drop, options.confidence or budget.CONFIDENCE)
    if proof.task.right(proof.outputs, proof.targets) is not None and proof.n < least:
        raise ExportError(
            f"--confidence {options.confidence:g} that no more than {options.max_drop:g} points are lost takes "
            f"{least:,} test records even where no answer changes, there are {proof.n:,}; give more data, a larger "
            "--max-drop, or leave --confidence out"
        )


def _written(name: str, tiers: Iterable[Iterable[strategies.Attempt]], bench: _Bench) -> Comparison:
    """Publish target `name`, an integer one as it is best on val."""
    if not table.target(name).calibrated:
        ((attempt,),) = tiers
        return _publish(attempt, None, bench)
    with TemporaryDirectory() as folder:
        return _publish(*choice.choose(name, tiers, bench.choice, bench.options, Path(folder), bench.tell), bench)


def _publish(attempt: strategies.Attempt, chosen: Comparison | None, bench: _Bench) -> Comparison:
    target, place = table.target(attempt.target), table.place(bench.directory, attempt.target)
    inputs, outputs = bench.reference.inputs, bench.reference.outputs
    _refuse_existing(place, bench.force)
    with replacing(place) as scratch:
        attempt.write(scratch)
        facts: dict = {"metadata": metadata.attach(scratch, bench.about), "float_layers": attempt.float_layers}
        result = _proven(attempt, chosen, scratch, bench)
        result = replace(result, speed=timed(scratch))
        bench.tell(result)
        if attempt.simulation is not None:
            facts["simulation"] = _agreement(bench.reference.task, scratch, attempt.simulation, inputs)
        answers = golden.answers(scratch, target, inputs, outputs)
        if scratch.is_dir():
            golden.write(scratch, answers)
            facts["warmup"] = warmup.write(
                scratch, bench.reference.task.input, inputs, bench.deployed.familiarity is not None
            )
        bench.directory.announce_export(_line(bench, place, scratch) | facts | result.as_json())
    for path, written, told in parts.write(bench.reference.task, bench.deployed, place, target, inputs):
        bench.directory.announce_export(_line(bench, path, written) | told)
    bench.directory.settle_exports()
    if place.is_file():
        golden.write(place, answers)
    if attempt.errors:
        sensitivity.write_report(place.with_suffix(".layers.csv"), attempt.errors)
    return result


def _proven(attempt: strategies.Attempt, chosen: Comparison | None, file: Path, bench: _Bench) -> Comparison:
    """The comparison on test of a file that was chosen on val, or that there is no choice of."""
    options, task = bench.options, bench.reference.task
    result = chosen if bench.choice is bench.reference else None
    if result is None:
        confidence = options.confidence or budget.CONFIDENCE
        result = compare(attempt.target, file, bench.reference, attempt.strategy, confidence)
        result = replace(result, chosen=chosen)
    is_beyond = result.drop > options.max_drop + budget.ROUNDING
    if is_beyond and chosen is None:
        bench.tell(result)
        raise ExportError(choice.refusal(result.target, [result], task, options))
    if is_beyond or (options.confidence and result.interval.high > options.max_drop + budget.ROUNDING):
        bench.tell(result)
        raise ExportError(_unproven(result, bench))
    return result


def _refuse_existing(place: Path, force: bool) -> None:
    if place.exists() and not force:
        raise ExportError(f"{place} exists; --force replaces it")


def _unproven(result: Comparison, bench: _Bench) -> str:
    """Why a file that was chosen is refused all the same."""
    options, task = bench.options, bench.reference.task
    plural = task.input.plural
    assert result.interval is not None
    told = (
        f"{result.target}{f' ({result.strategy})' * bool(result.strategy)} "
        f"{tasks.told_drop(task, result.drop)} ({result.keras_value:.4f} to {result.value:.4f} on {result.n} {plural}"
    )
    if result.drop > options.max_drop + budget.ROUNDING:
        where = f", {result.chosen.drop:.2f} on those of val that chose it" if result.chosen else ""
        return (
            f"{told}{where}), more than --max-drop {options.max_drop:g}; it was not written, and test is asked once: "
            "ship tflite-float16, or give more data"
        )
    ends = (
        f"from {result.interval.low:.2f} to {result.interval.high:.2f} with {result.interval.confidence:.0%} confidence"
    )
    enough = budget.needed(result.interval, result.n, options.max_drop)
    way = f"{enough:,} {plural} at these shares would do" if enough else "take a larger --max-drop or a safer target"
    return f"{told}; {ends}), which --max-drop {options.max_drop:g} does not allow; it was not written: {way}"


def _about(directory: ModelDir, options: Export) -> About:
    card = directory.read_card()
    classes = f"{len(card.labels)} classes" if tasks.of_card(card).labelled else card.task
    return About(
        task=card.task, input=card.input, labels=card.labels, options=card.options, name=directory.name,
        description=f"{card.architecture} for {classes}", author=options.author,
        license=options.license, version=options.version, data_sha256=card.data.get("fingerprint", ""),
        model_sha256=sha256(directory.model), split=card.data.get("split") or {},
    )  # fmt: skip


def _line(bench: _Bench, place: Path, written: Path) -> dict:
    """What the list of exports says of the file that is `written` and goes to `place`."""
    path = place.relative_to(bench.directory.path).as_posix()
    line = {"path": path, "sha256": sha256(written), "model": bench.about.model_sha256}
    return line | {"min_runtime": tflite.min_runtime(written)} if place.suffix == ".tflite" else line


def _agreement(task: Task, file: Path, model: keras.Model, inputs: Arrays) -> dict:
    """How well the file repeats the model that it was trained as."""
    found, wanted = open_model(file).run(inputs), KerasRuntime(task.deployed(model)).run(inputs)
    return {"agreement": task.agreement(found, wanted), "max_difference": golden.max_difference(found, wanted)}
