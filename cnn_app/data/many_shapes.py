"""Drawn images of several shapes: one to three of the five, which never cover one another. The same at every call."""

import numpy as np

from cnn_app.data import Records
from cnn_app.data.dataset import Split, in_memory
from cnn_app.data.shapes import CLASSES, SIDE, colour, corners, ground, painted
from cnn_app.recipe import Data

IMAGES, MOST = 2000, 3
RADII = 8, 12  # pixels


def load(data: Data) -> Records:
    """2,000 images, uint8 (n, 64, 64, 3), and which of five classes are in each, uint8 (n, 5)."""
    rng = np.random.default_rng(0)
    chosen = [np.sort(rng.permutation(len(CLASSES))[: 1 + i % MOST]) for i in range(IMAGES)]
    there = np.zeros((IMAGES, len(CLASSES)), np.uint8)
    for row, places in zip(there, chosen, strict=True):
        row[places] = 1
    shapes = [[CLASSES[place] for place in places] for places in chosen]
    images = np.stack([draw(several, rng) for several in shapes])
    names = [f"{'+'.join(several)}-{i:04d}" for i, several in enumerate(shapes)]
    return Records({"train": Split(names, {"image": in_memory(images)}, {"labels": in_memory(there)})}, CLASSES)


def draw(shapes: list[str], rng: np.random.Generator) -> np.ndarray:
    """One image of `shapes`, uint8 (64, 64, 3)."""
    grain = ground(rng)
    radii = rng.uniform(*RADII, len(shapes))
    apart = radii[:, None] + radii
    np.fill_diagonal(apart, 0)
    while True:
        centres = rng.uniform(radii[:, None], SIDE - radii[:, None], (len(shapes), 2))
        if (np.linalg.norm(centres[:, None] - centres, axis=-1) >= apart).all():
            break
    return painted(grain, [(corners(shape, centre, radius, rng.uniform(0, 2 * np.pi)), colour(grain, rng))
                           for shape, centre, radius in zip(shapes, centres, radii, strict=True)])  # fmt: skip
