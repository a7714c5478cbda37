"""SmoothGrad: Smilkov et al., arXiv:1706.03825: the mean gradient of noisy copies, noise of 15 % of the range."""

import numpy as np

from cnn_app.analysis.attribution import Explained
from cnn_app.analysis.attribution.gradients import of_pixels

COPIES, BATCH, NOISE = 48, 16, 0.15


def heat(explained: Explained, image: np.ndarray) -> np.ndarray:
    draw, total = np.random.default_rng(0), np.zeros(image.shape)
    size = NOISE * (float(image.max()) - float(image.min()))
    for _ in range(0, COPIES, BATCH):
        noisy = image + draw.normal(0, size, (BATCH, *image.shape))
        total += of_pixels(explained, noisy).sum(0)
    return np.abs(total / COPIES).max(-1)
