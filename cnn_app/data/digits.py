"""Handwritten digits, 8x8 in 17 greys: 1,797 real images that come with scikit-learn (UCI ML repository, 1998)."""

import numpy as np

from cnn_app.data.dataset import Dataset, complete, from_array
from cnn_app.recipe import Data


def load(data: Data) -> Dataset:
    """Ten classes, uint8 (n, 8, 8, 1)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    names = [f"digit-{i:04d}" for i in range(len(images))]
    return complete("digits", [str(digit) for digit in range(10)], {"train": from_array(names, digits.target, images)})
