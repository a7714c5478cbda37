"""Integrated gradients: Sundararajan, Taly, Yan, arXiv:1703.01365, equation 1, from black, by Gauss and Legendre."""

import numpy as np

from cnn_app.analysis.attribution import Explained
from cnn_app.analysis.attribution.gradients import of_pixels

STEPS, BATCH = 48, 16


def attributions(explained: Explained, image: np.ndarray) -> np.ndarray:
    """(h, w, channels); their sum is what the score of the image is above that of black."""
    places, weights = np.polynomial.legendre.leggauss(STEPS)
    total, image = np.zeros(image.shape), image.astype(np.float32)
    for start in range(0, STEPS, BATCH):
        part = slice(start, start + BATCH)
        on_the_way = ((places[part] + 1) / 2)[:, None, None, None] * image
        total += np.tensordot(weights[part] / 2, of_pixels(explained, on_the_way), 1)
    return total * image


def heat(explained: Explained, image: np.ndarray) -> np.ndarray:
    return np.abs(attributions(explained, image).sum(-1))
