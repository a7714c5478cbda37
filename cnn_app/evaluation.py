"""Any artifact against labelled pictures, and its answers to unlabelled ones."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cnn_app import data as sources
from cnn_app.data import pictures, pipeline
from cnn_app.errors import DataError
from cnn_app.recipe import Data
from cnn_app.runtimes import answers, labels_of, open_model
from cnn_app.tasks import classification


def evaluate(
    artifact: str | os.PathLike[str], data: Data, split: str = "test", progress: pipeline.Progress | None = None
) -> tuple[classification.Report, tuple[str, ...]]:
    """The report of an artifact on one split of `data`, and the labels in the model's order."""
    runtime = open_model(artifact)
    dataset = sources.load(data)
    classes = runtime.predict(np.zeros((1, *runtime.image), np.uint8)).shape[1]
    labels = labels_of(artifact, classes) or dataset.classes
    dataset = pipeline.prepare(
        dataset.in_order(labels), runtime.image, skip_bad=data.on_bad_image == "skip", progress=progress
    )
    chosen = dataset.splits[split]
    return classification.report(answers(runtime, chosen), chosen.labels, labels), labels


def predict(artifact: str | os.PathLike[str], named: Iterable[tuple[str, bytes]], k: int = 5) -> Iterable[dict]:
    """For each (name, encoded picture) its k most probable labels: {"picture", "top": [{"label", "probability"}]}."""
    runtime = open_model(artifact)
    for name, data in named:
        probabilities = runtime.predict(pictures.load(data, name, runtime.image)[None])[0]
        labels = labels_of(artifact, len(probabilities)) or tuple(map(str, range(len(probabilities))))
        yield {"picture": name, "top": classification.top(probabilities, labels, k)}


def named_pictures(places: Iterable[str], stdin) -> Iterable[tuple[str, bytes]]:
    """Files, all pictures under folders, and `-` for the bytes on `stdin`, as (name, bytes)."""
    for place in places:
        if place == "-":
            yield "-", stdin.read(pictures.MAX_BYTES + 1)
            continue
        path = Path(place)
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in pictures.SUFFIXES) if path.is_dir() else [path]
        if not found:
            raise DataError(f"{place} has no pictures in it ({', '.join(pictures.SUFFIXES)})")
        for file in found:
            try:
                if file.stat().st_size > pictures.MAX_BYTES:
                    raise DataError(f"{file} is larger than {pictures.MAX_BYTES >> 20} MiB")
                yield str(file), file.read_bytes()
            except OSError as error:
                raise DataError(f"cannot read {file}: {error.strerror}") from error
