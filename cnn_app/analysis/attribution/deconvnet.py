"""Deconvnet: Zeiler and Fergus, arXiv:1311.2901, section 2.1: a ReLU passes back whatever is positive."""

import numpy as np

from cnn_app.analysis.attribution import Explained
from cnn_app.analysis.attribution.gradients import of_pixels


def heat(explained: Explained, image: np.ndarray) -> np.ndarray:
    return np.abs(of_pixels(explained, image[None], explained.rectified(True))[0]).max(-1)
