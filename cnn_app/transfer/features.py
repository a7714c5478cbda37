"""Activations of a layer as deep features of images: streamed to a file, and as one vector for each image."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import numpy as np

from cnn_app.artifacts import replacing
from cnn_app.data import images, pipeline
from cnn_app.data.dataset import Dataset, Split
from cnn_app.transfer import HEAD, layers_at

BATCH = 32
NEIGHBOURS = 14  # that are shown: with the image itself three rows of five


@dataclass(frozen=True)
class Features:
    """One vector for each image of a data set, the splits one after the other; a test that is val comes once."""

    vectors: np.ndarray  # float32 (n, channels): activations, the mean over positions where there are some
    labels: np.ndarray  # int64 (n,)
    names: np.ndarray  # str (n,)
    split: np.ndarray  # str (n,)


def tapped(model: keras.Model, layer: str | None = None) -> keras.Model:
    """Pixels -> what `layer` gives (a stage's last layer for its name); by default what the head sees."""
    if layer is None:
        return keras.Model(model.input, model.get_layer(HEAD).input)
    return keras.Model(model.input, layers_at(model, layer)[-1].output)


def extract(
    tap: keras.Model, dataset: Dataset, out: str | os.PathLike[str] | None = None,
    progress: pipeline.Progress | None = None,
) -> Features:  # fmt: skip
    """Run all images of a prepared data set through `tap`; only vectors are kept in memory.

    out: an .npz for the activations as they are, (n, *shape of the layer), with labels, names, split and classes.
    """
    distinct = {id(split): (name, split) for name, split in reversed(dataset.splits.items())}
    parts = list(reversed(distinct.values()))
    labels = np.concatenate([split.labels for _, split in parts])
    names = np.array([name for _, split in parts for name in split.names])
    where = np.array([name for name, split in parts for _ in split.names])
    vectors = np.empty((len(labels), tap.output_shape[-1]), np.float32)
    with _npz(out, (len(labels), *tap.output_shape[1:])) as write:
        done = 0
        for _, split in parts:
            for batch in rows(tap, split):
                write(batch)
                vectors[done : done + len(batch)] = averaged(batch)
                done += len(batch)
                if progress is not None:
                    progress("features", done, len(labels))
        write(labels=labels, names=names, split=where, classes=np.array(dataset.classes))
    return Features(vectors, labels, names, where)


def neighbours(
    tap: keras.Model, dataset: Dataset, found: Features, path: str | os.PathLike[str], count: int = NEIGHBOURS
) -> list[dict]:
    """The images nearest to the one in the file at `path`: {"image", "split", "label", "cosine"}, nearest first."""
    query = averaged(tap.predict_on_batch(images.read(path, tap.input_shape[1:])[None]))[0]
    lengths = np.linalg.norm(found.vectors, axis=1) * np.linalg.norm(query)
    cosines = found.vectors @ query / np.maximum(lengths, 1e-12)
    return [{"image": str(found.names[i]), "split": str(found.split[i]),
             "label": dataset.classes[found.labels[i]], "cosine": float(cosines[i])}
            for i in np.argsort(-cosines, kind="stable")[:count]]  # fmt: skip


def rows(tap: keras.Model, split: Split) -> Iterator[np.ndarray]:
    """Activations of a prepared split, batch by batch, in its order."""
    for batch in pipeline.arrays(split, BATCH):
        yield np.asarray(tap.predict_on_batch(batch), np.float32)


def averaged(activations: np.ndarray) -> np.ndarray:
    """(n, ..., channels) -> (n, channels): the mean over positions."""
    return activations.reshape(len(activations), -1, activations.shape[-1]).mean(1)


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
