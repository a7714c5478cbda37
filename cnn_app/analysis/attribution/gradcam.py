"""Grad-CAM: Selvaraju et al., arXiv:1610.02391, equations 1 and 2."""

import numpy as np

from cnn_app.analysis.attribution import Explained
from cnn_app.analysis.attribution.gradients import of_maps, spread


def heat(explained: Explained, image: np.ndarray) -> np.ndarray:
    maps, gradient = of_maps(explained, image)
    return spread(np.maximum(maps @ gradient.mean((0, 1)), 0), image)
