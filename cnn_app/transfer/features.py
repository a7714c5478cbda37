"""Activations of a layer as deep features of images: streamed to a file, and as one vector for each image."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import numpy as np

from cnn_app.atomic import replacing
from cnn_app.data import pipeline
from cnn_app.data.dataset import Dataset, Split
from cnn_app.errors import DataError
from cnn_app.heads import CODE, needed
from cnn_app.runtimes.familiarity import averaged
from cnn_app.runtimes.keras_model import fed
from cnn_app.tasks import Task
from cnn_app.transfer import HEAD, layers_at

BATCH = 32
NEIGHBOURS = 14  # that are shown: with the image itself three rows of five


@dataclass(frozen=True)
class Features:
    """One vector for each image of a data set, the splits one after the other; a test that is val comes once."""

    vectors: np.ndarray  # float32 (n, channels): activations, the mean over positions where there are some
    targets: np.ndarray  # int64 (n,), places of classes
    names: np.ndarray  # str (n,)
    split: np.ndarray  # str (n,)


def tapped(model: keras.Model, layer: str | None = None) -> keras.Model:
    """Pixels -> what `layer` gives (a stage's last layer for its name); by default the code, or what the head sees."""
    if layer is not None:
        output = layers_at(model, layer)[-1].output
    elif isinstance(model.output, dict) and CODE in model.output:
        output = model.output[CODE]
    else:
        output = model.get_layer(HEAD).input
    return keras.Model(needed(model, output), output)


def extract(
    tap: keras.Model, task: Task, dataset: Dataset, out: str | os.PathLike[str] | None = None,
    progress: pipeline.Progress | None = None,
) -> Features:  # fmt: skip
    """Run all records of a prepared data set through `tap`; only vectors are kept in memory.

    out: an .npz for the activations as they are, (n, *shape of the layer), with labels, names, split and classes.
    """
    parts = list(dataset.distinct().items())
    targets = np.concatenate([task.strata(split) for _, split in parts])
    names = np.array([name for _, split in parts for name in split.names])
    where = np.array([name for name, split in parts for _ in split.names])
    vectors = np.empty((len(targets), tap.output_shape[-1]), np.float32)
    with _npz(out, (len(targets), *tap.output_shape[1:])) as write:
        done = 0
        for _, split in parts:
            for batch in rows(tap, split):
                write(batch)
                vectors[done : done + len(batch)] = averaged(batch)
                done += len(batch)
                if progress is not None:
                    progress("features", done, len(targets))
        write(labels=targets, names=names, split=where, classes=np.array(dataset.labels))
    return Features(vectors, targets, names, where)


def neighbours(
    tap: keras.Model, task: Task, found: Features, path: str | os.PathLike[str], count: int = NEIGHBOURS
) -> list[dict]:
    """The images nearest to the one in the file at `path`: {"image", "split", "label", "cosine"}, nearest first."""
    name, data = next(task.input.records([os.fspath(path)], sys.stdin.buffer))
    if isinstance(data, DataError):
        raise data
    record = {name: array[None] for name, array in task.input.load(data, name).items()}
    query = averaged(tap.predict_on_batch(fed(tap, record)))[0]
    lengths = np.linalg.norm(found.vectors, axis=1) * np.linalg.norm(query)
    labels = dict(enumerate(task.labels)) if task.labelled else {}
    cosines = found.vectors @ query / np.maximum(lengths, 1e-12)
    return [{task.input.kind: str(found.names[i]), "split": str(found.split[i]),
             "label": labels.get(found.targets[i], ""), "cosine": float(cosines[i])}
            for i in np.argsort(-cosines, kind="stable")[:count]]  # fmt: skip


def rows(tap: keras.Model, split: Split) -> Iterator[np.ndarray]:
    """Activations of a prepared split, batch by batch, in its order."""
    for inputs, _ in pipeline.arrays(split, BATCH):
        yield np.asarray(tap.predict_on_batch(fed(tap, inputs)), np.float32)


def vectors(tap: keras.Model, split: Split) -> np.ndarray:
    """All of `rows`, which are vectors: (n, width)."""
    return np.concatenate(list(rows(tap, split)))


@contextmanager
def _npz(path: str | os.PathLike[str] | None, shape: tuple[int, ...]):
    """A function that appends rows of `features`, and in the end takes the other arrays; nothing is held in memory."""
    if path is None:
        yield lambda rows=None, **arrays: None
        return
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False, "shape": shape}
    with replacing(path) as scratch, zipfile.ZipFile(scratch, "w") as archive:
        stream = archive.open("features.npy", "w", force_zip64=True)
        np.lib.format.write_array_header_1_0(stream, header)

        def write(rows=None, **arrays):
            if rows is not None:
                stream.write(np.ascontiguousarray(rows).data)
            if arrays:
                stream.close()
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)

        try:
            yield write
        finally:
            stream.close()
