"""The mean of several models' weights, measured beside them and then written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from cnn_app import tasks
from cnn_app.artifacts import ModelDir, sha256
from cnn_app.atomic import write_bytes
from cnn_app.data import Records, pipeline
from cnn_app.errors import ModelError
from cnn_app.jobs import sources
from cnn_app.jobs.evaluate import Measured, evaluate
from cnn_app.recipe import Data
from cnn_app.runtimes.familiarity import write as write_familiarity
from cnn_app.runtimes.keras_model import card_about, save
from cnn_app.transfer import averaging, familiarity


def average(
    models: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], data: str | Data | Records | None = None, *,
    progress: pipeline.Progress | None = None,
) -> Measured:  # fmt: skip
    """Write the mean of the weights in model directories to `out`; reports of all of them, that of `out` last.

    data: as in `train`; by default what the first was trained on.

    Raises ModelError for models that have no mean and where `out` holds a model, ArtifactError where another process
    is at work there.
    """
    if len(models) < 2:
        raise ModelError(f"an average needs two models or more, received {len(models)}")
    directories, target = [ModelDir(model) for model in models], ModelDir(out)
    mean, card = averaging.average(directories)
    with target.writing():
        if target.card.exists():
            raise ModelError(f"{out} holds a model already; choose another --out")
        data = data or sources.trained_on(directories[0])
        mean.about = card_about(card, target.name)
        task = tasks.of_card(card)
        if task.learned:
            on_val = evaluate(mean, data, "val", progress=progress).report
            card = replace(card, options=tasks.facts(task.settled(on_val))["options"])
            mean.about = card_about(card, target.name)
        found = evaluate((*models, mean), data, progress=progress)
        *others, (_, report) = found.reports.items()
        save(mean, target.model, mean.about)
        if directories[0].splits.is_file():
            write_bytes(target.splits, directories[0].splits.read_bytes())
        digests = {"model.keras": sha256(target.model)}
        if task.familiar:
            known = familiarity.fitted(mean, task, sources.for_model(directories[0], data, progress)[1])
            write_familiarity(target, known, digests["model.keras"])
        target.write_card(replace(card, metrics={"test": report.metrics | found.figures}, digests=digests))
    return replace(found, reports=dict(others) | {str(out): report}, ensemble=None)
