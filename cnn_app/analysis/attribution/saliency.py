"""Saliency: Simonyan, Vedaldi, Zisserman, arXiv:1312.6034, section 3.1: of the channels of a pixel the largest."""

import numpy as np

from cnn_app.analysis.attribution import Explained
from cnn_app.analysis.attribution.gradients import of_pixels


def heat(explained: Explained, image: np.ndarray) -> np.ndarray:
    return np.abs(of_pixels(explained, image[None])[0]).max(-1)
