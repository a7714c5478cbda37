"""A model directory's files for other runtimes, each proven against the Keras model."""

from __future__ import annotations

import os
from collections.abc import Callable

from cnn_app.analysis import report
from cnn_app.artifacts import ModelDir
from cnn_app.data import Records, pipeline
from cnn_app.errors import ExportError
from cnn_app.export import run
from cnn_app.export.verification import Comparison
from cnn_app.jobs import sources
from cnn_app.recipe import Data, Export
from cnn_app.training.engine import Watch


def export(
    directory: str | os.PathLike[str], options: Export | tuple[str, ...] | list[str],
    data: str | Data | Records | None = None, *, tell: Callable[[Comparison], None] = lambda result: None,
    watch: Watch | None = None, force: bool = False, progress: pipeline.Progress | None = None,
) -> list[Comparison]:  # fmt: skip
    """Write the model in `directory` for other runtimes and return how far each file is from the Keras model.

    directory: a model directory, as `train` writes it.
    options: `recipe.Export`, or the names of targets, such as ["tflite-int8", "onnx"].
    data: as in `train`; by default what the model was trained on. train is for calibration, test for the proof.
    tell: told of each comparison.
    watch: told of quantization-aware training.
    force: replace files that exist.
    progress: told of records that are read.

    Raises ExportError for a target that cannot be written, before any work, and for files that lose more than
    `options.max_drop` points, which are not published; the others are. ArtifactError where another process is at work
    in the directory.
    """
    options = options if isinstance(options, Export) else Export(targets=tuple(options))
    model = ModelDir(directory)
    if not model.card.is_file():  # before a lock would make the folder
        raise ExportError(f"{directory} is no model directory: it has no card.json that names labels and training "
                          "data; export takes what train or finetune wrote")  # fmt: skip
    with model.writing(exporting="saved_model" in options.targets):
        task, dataset = sources.for_model(model, data, progress)
        try:
            return run.export(model, options, task, dataset, tell, watch, force=force)
        finally:
            if model.exports.is_file():  # those that keep within the budget are there also where others do not
                report.refresh(model)
