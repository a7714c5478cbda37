"""The main job's second half: a model directory in, verified files out. What fails its check is not published."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np

from cnn_app.artifacts import ModelDir, replacing, sha256
from cnn_app.data import pipeline
from cnn_app.data.dataset import Dataset, Split
from cnn_app.errors import ExportError
from cnn_app.export import golden, metadata
from cnn_app.export import targets as table
from cnn_app.export.graph import deployable
from cnn_app.export.tflite import min_runtime
from cnn_app.export.verification import Comparison, compare
from cnn_app.recipe import Export
from cnn_app.runtimes import answers
from cnn_app.runtimes.keras_model import KerasRuntime, load

VERIFIED = 1000  # held-out pictures at most


def export(
    directory: ModelDir, options: Export, dataset: Dataset, tell: Callable[[Comparison], None] = lambda result: None
) -> list[Comparison]:
    """Write every target, compare it with the Keras model, and publish it if it keeps within `options.max_drop`.

    Raises ExportError after the last target if any was refused; those that passed are published all the same.
    """
    wanted = {name: table.target(name) for name in options.targets}
    model = load(directory.path)
    held_out = dataset.splits["test"].take(pipeline.stratified(dataset.splits["test"], VERIFIED))
    pixels, calibration = pixels_of(held_out), None
    if any(target.calibrated for target in wanted.values()):
        train = dataset.splits["train"]
        calibration = pixels_of(train.take(pipeline.stratified(train, options.calibration)))
    reference = answers(KerasRuntime(model), held_out)
    copy, refused, results, about = deployable(model), [], [], _about(directory, options)
    for name, target in wanted.items():
        place = table.place(directory, name)
        try:
            with replacing(place) as scratch:
                import_module(f"cnn_app.export.{target.module}").write(copy, scratch, target, calibration)
                described = metadata.attach(scratch, about)
                result = compare(name, scratch, pixels, held_out.labels, reference)
                tell(result)
                _check(result, options.max_drop)
                if scratch.is_dir():
                    golden.write(scratch, target, pixels, reference)
        except ExportError as error:
            refused.append(str(error))
        else:
            if place.is_file():
                golden.write(place, target, pixels, reference)
            results.append(result)
            _record(directory, place, result, described)
    if refused:
        raise ExportError("; ".join(refused))
    return results


def _check(result: Comparison, max_drop: float) -> None:
    if result.drop > max_drop + 1e-9:
        raise ExportError(
            f"{result.target} loses {result.drop:.2f} points of top-1 ({result.keras_top1:.4f} to {result.top1:.4f} on "
            f"{result.n} pictures), more than --max-drop {max_drop:g}; it was not written: "
            "calibrate with more pictures, or ship tflite-float16"
        )


def _about(directory: ModelDir, options: Export) -> metadata.About:
    card = directory.read_card()
    return metadata.About(
        name=directory.name, description=f"{card.architecture} for {len(card.labels)} classes", labels=card.labels,
        image=card.image, author=options.author, license=options.license, version=options.version,
        data_sha256=card.data.get("fingerprint", ""), model_sha256=sha256(directory.model),
    )  # fmt: skip


def _record(directory: ModelDir, place: Path, result: Comparison, described: bool) -> None:
    line = {"path": str(place.relative_to(directory.path)), "sha256": sha256(place), "model": sha256(directory.model),
            "metadata": described}  # fmt: skip
    if place.suffix == ".tflite":
        line["min_runtime"] = min_runtime(place)
    directory.add_exports([line | result.as_json()])


def pixels_of(split: Split) -> np.ndarray:
    """All pictures of a prepared split, uint8 (n, H, W, C)."""
    return np.concatenate(list(pipeline.arrays(split, 64)))
