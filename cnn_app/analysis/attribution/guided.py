"""Guided back-propagation: Springenberg et al., arXiv:1412.6806: a ReLU passes back what is positive and was passed."""

import numpy as np

from cnn_app.analysis.attribution import Explained
from cnn_app.analysis.attribution.gradients import of_pixels


def heat(explained: Explained, image: np.ndarray) -> np.ndarray:
    return np.abs(attributions(explained, image)).max(-1)


def attributions(explained: Explained, image: np.ndarray) -> np.ndarray:
    return of_pixels(explained, image[None], explained.rectified(False))[0]
