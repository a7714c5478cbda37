"""Data sets of TensorFlow Datasets: `tfds:NAME`, encoded images in memory, or where they lie if they do not fit."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from urllib.parse import urlsplit

import numpy as np

from cnn_app.data import Records, memory
from cnn_app.data.dataset import Column, Split, in_memory
from cnn_app.errors import DataError
from cnn_app.recipe import Data

SPLIT_NAMES = {"train": "train", "validation": "val", "test": "test"}  # theirs -> ours
PATIENCE_S = 10  # for the first sign of a server


def load(data: Data) -> Records:
    """The data set's own splits."""
    import tensorflow_datasets as tfds

    builder = _prepared(data.source.removeprefix("tfds:"), data.directory)
    features = builder.info.features
    if not {"image", "label"} <= set(features) or not hasattr(features["label"], "names"):
        raise DataError(
            f"{data.source} is no classification set: it has {', '.join(features)}; image and label are needed"
        )
    size, free = builder.info.dataset_size, memory.available()
    fits = size <= free / 2
    if not fits and builder.info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
        raise DataError(
            f"{data.source} has {size / 2**30:.1f} GiB, {free / 2**30:.1f} GiB of memory are free, and half must do; "
            "prepared with file_format='array_record' it is read from where it lies"
        )
    read = _split if fits else _from_files
    splits = {ours: read(builder, theirs) for theirs, ours in SPLIT_NAMES.items() if theirs in builder.info.splits}
    if "train" not in splits:
        raise DataError(f"{data.source} has no train split, only {', '.join(builder.info.splits)}")
    return Records(splits, tuple(features["label"].names))


def _prepared(name: str, directory: str | None):
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=directory)
        if not builder.data_path.exists():
            _check_reachable(builder)
            if not sys.stderr.isatty():
                tfds.disable_progress_bar()
            with redirect_stdout(sys.stderr):
                builder.download_and_prepare()
        return builder
    except Exception as error:  # tfds raises whatever its downloads raise
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        where = directory or "its default directory"
        raise DataError(f"tfds:{name} is neither prepared in {where} nor could it be downloaded: {reason}") from error


def _check_reachable(builder) -> None:
    """Ask once for the first file: a download is tried again for minutes, and tells of each time."""
    import requests

    url = next((url for url in builder.url_infos or () if url.startswith("http")), None)
    try:
        if url:
            requests.head(url, timeout=PATIENCE_S)
    except requests.RequestException as error:
        raise ConnectionError(f"{urlsplit(url).hostname} does not answer") from error


def _split(builder, name: str) -> Split:
    import tensorflow as tf
    import tensorflow_datasets as tfds

    records = builder.as_dataset(split=name, decoders={"image": tfds.decode.SkipDecoding()})
    pairs = [(record["image"], record["label"]) for record in records.as_numpy_iterator()]
    encoded = tf.constant([image for image, _ in pairs])
    return _named(name, Column(lambda i: encoded[i]), [number for _, number in pairs])


def _from_files(builder, name: str) -> Split:
    """By random access; the labels are read now."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    records = builder.as_data_source(split=name, decoders={"image": tfds.decode.SkipDecoding()})
    classes = [record["label"] for record in records]

    def image(place: np.ndarray) -> bytes:
        return records[int(place)]["image"]

    return _named(name, Column(lambda i: tf.ensure_shape(tf.numpy_function(image, [i], tf.string), ())), classes)


def _named(name: str, images: Column, classes: list[int]) -> Split:
    names = [f"{name}-{i:07d}" for i in range(len(classes))]
    return Split(names, {"image": images}, {"class": in_memory(np.array(classes, np.int64))})
