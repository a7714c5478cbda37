"""Grad-CAM++: Chattopadhay et al., arXiv:1710.11063, equations 5 and 19, with the exponential of the score."""

import numpy as np

from cnn_app.analysis.attribution import Explained
from cnn_app.analysis.attribution.gradients import of_maps, spread


def heat(explained: Explained, image: np.ndarray) -> np.ndarray:
    maps, gradient = of_maps(explained, image)
    below = 2 * gradient**2 + maps.sum((0, 1)) * gradient**3
    share = np.divide(gradient**2, below, out=np.zeros_like(below), where=below != 0)
    weights = (share * np.maximum(gradient, 0)).sum((0, 1))
    return spread(np.maximum(maps @ weights, 0), image)
