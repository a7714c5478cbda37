"""An artifact's answers to records whose targets are not known."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cnn_app.errors import DataError, ModelError
from cnn_app.inputs.files import text
from cnn_app.jobs.opened import Artifact, opened_as
from cnn_app.runtimes import Runtime, familiarity_of
from cnn_app.runtimes.familiarity import TOLD
from cnn_app.tasks import Task
from cnn_app.tensors import Arrays


@dataclass(frozen=True)
class Prediction:
    """What was said of one record, or why nothing was."""

    name: str
    answer: dict | None = None  # as the task gives it; with `unlike` where the artifact knows its training data
    outputs: Arrays | None = None  # without a batch axis
    record: Arrays | None = None  # what the network took, or the first part of it
    error: DataError | None = None


def predict(
    artifact: Artifact, records: str | os.PathLike[str] | np.ndarray | Iterable[str], top: int = 5,
    stdin: BinaryIO | None = None, *, trust: bool = False,
) -> list[Prediction]:  # fmt: skip
    """A prediction for each record.

    artifact: a model directory, a .keras, .tflite or .onnx file, a SavedModel directory, or a Keras model.
    records: files, folders and what else the input reads, such as sentences; or an array of what the network takes:
        pixels in [0, 255], (n, h, w, channels) of its size, ids of words, (n, length), or waves, (n, samples).
    top: how many classes an answer names.
    stdin: what "-" among the records reads.
    trust: run the artifact without the limits of files from elsewhere; docs/security.md names them.

    Of a wave that is longer than the network's, the answer is the mean of all of its windows.
    A record that cannot be read has an `error`; nothing is raised for it. Raises ArtifactError for what is no model.
    """
    runtime, task = opened_as(artifact, trust)
    return list(predictions(runtime, task, records, top, stdin))


def predictions(
    runtime: Runtime, task: Task, records: str | os.PathLike[str] | np.ndarray | Iterable[str], top: int = 5,
    stdin: BinaryIO | None = None,
) -> Iterator[Prediction]:  # fmt: skip
    """`predict`, one after the other."""
    for name, taken, data in read(task, records, stdin):
        if isinstance(taken, DataError):
            yield Prediction(name, error=taken)
            continue
        found = runtime.run(taken)
        if (parts := len(next(iter(taken.values())))) > 1:
            found = task.averaged([{key: array[i : i + 1] for key, array in found.items()} for i in range(parts)])
        found = found if data is None else task.placed(found, [data])
        outputs = {key: array[0] for key, array in found.items()}
        seen = familiarity_of(runtime, taken)
        told = {key: seen[key][0].item() for key in TOLD if key in seen}
        yield Prediction(
            name, task.answer(outputs, top) | told, outputs, {key: array[0] for key, array in taken.items()}
        )


def labelled(runtime: Runtime, task: Task, file: Path) -> Task:
    """`task` with the labels in a file, a line each up to an empty one, where the artifact has none."""
    if task.labels:
        raise ModelError(f"{runtime.path} has labels inside; leave out {file}")
    lines = [line.strip() for line in text(file, "utf-8").splitlines()]
    labels = lines[: lines.index("")] if "" in lines else lines
    if twice := [label for place, label in enumerate(labels) if label in labels[:place]]:
        raise ModelError(f"{file} names {twice[0]!r} twice; give each class a name of its own")
    given = next(iter(runtime.outputs.values()))
    scores = given.shape[-1] if given.shape and given.dtype == "float32" else None
    if not labels or scores not in (None, len(labels)):
        raise ModelError(f"{file} has {len(labels)} labels and {runtime.path} {scores or 'some'} outputs; give the "
                         "labels of these")  # fmt: skip
    return replace(task, labels=tuple(labels))  # type: ignore[type-var]


def read(
    task: Task, records, stdin: BinaryIO | None
) -> Iterator[tuple[str, Arrays | DataError, bytes | None]]:  # fmt: skip
    """Names, what the network takes of each, and what that was made of."""
    if isinstance(records, np.ndarray):
        (name, spec), *_ = task.input.specs().items()
        for i, record in enumerate(records):
            wrong = DataError(f"record {i} has the shape {record.shape}; the network takes {name} {spec}")
            yield str(i), {name: record[None]} if spec.fits((1, *record.shape)) else wrong, None
        return
    places = [os.fspath(records)] if isinstance(records, str | os.PathLike) else list(map(os.fspath, records))
    for name, data in task.input.records(places, stdin or sys.stdin.buffer):
        try:
            if isinstance(data, DataError):
                raise data
            yield name, task.input.parts(data, name), data
        except DataError as error:
            yield name, error, None
