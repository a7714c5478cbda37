"""Where images come from. A source is a module here with `load(data) -> Dataset`; one place to add the next."""

from __future__ import annotations

import os

from cnn_app.data.dataset import Dataset
from cnn_app.errors import DataError
from cnn_app.recipe import Data


def load(data: Data) -> Dataset:
    """The splits of a source: `digits`, `shapes`, `tfds:NAME`, or a folder of class folders."""
    from cnn_app.data import digits, folder, shapes, tfds

    named = {"digits": digits, "shapes": shapes}
    if data.source in named:
        return named[data.source].load(data)
    if data.source.startswith("tfds:"):
        return tfds.load(data)
    if os.path.isdir(data.source):
        return folder.load(data)
    raise DataError(
        f"no data at {data.source!r}; give digits, shapes, tfds:NAME or a folder with a folder for each class"
    )
