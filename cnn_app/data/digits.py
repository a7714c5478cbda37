"""Handwritten digits, 8x8 in 17 greys: 1,797 real images that come with scikit-learn (UCI ML repository, 1998)."""

import numpy as np

from cnn_app.data import Records
from cnn_app.data.dataset import Split, in_memory
from cnn_app.recipe import Data


def load(data: Data) -> Records:
    """Ten classes, uint8 (n, 8, 8, 1)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    names = [f"digit-{i:04d}" for i in range(len(images))]
    split = Split(names, {"image": in_memory(images)}, {"class": in_memory(digits.target.astype(np.int64))})
    return Records({"train": split}, tuple(map(str, range(10))))
