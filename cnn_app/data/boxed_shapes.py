"""Drawn images of one shape with its box: any of the five, of any size and anywhere. The same at every call."""

import numpy as np

from cnn_app.data import Records
from cnn_app.data.dataset import Split, in_memory
from cnn_app.data.shapes import CLASSES, SIDE, colour, corners, ground, painted
from cnn_app.recipe import Data

IMAGES = 2000
RADII = 8, 24  # pixels


def load(data: Data) -> Records:
    """2,000 images, uint8 (n, 64, 64, 3), places of five classes (n,), and x1, y1, x2, y2 in pixels, float32 (n, 4)."""
    rng = np.random.default_rng(0)
    classes = np.arange(IMAGES) % len(CLASSES)
    images, boxes = map(np.stack, zip(*(draw(CLASSES[place], rng) for place in classes), strict=True))
    names = [f"{CLASSES[place]}-{i:04d}" for i, place in enumerate(classes)]
    targets = {"class": in_memory(classes), "box": in_memory(boxes)}
    return Records({"train": Split(names, {"image": in_memory(images)}, targets)}, CLASSES)


def draw(shape: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One image of `shape`, uint8 (64, 64, 3), and its box, float32 (4,)."""
    grain = ground(rng)
    radius = rng.uniform(*RADII)
    points = corners(shape, rng.uniform(radius, SIDE - radius, 2), radius, rng.uniform(0, 2 * np.pi))
    box = np.clip([*np.floor(points.min(0)), *np.ceil(points.max(0))], 0, SIDE)
    return painted(grain, [(points, colour(grain, rng))]), box.astype(np.float32)
