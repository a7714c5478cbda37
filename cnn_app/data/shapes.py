"""Drawn pictures: five shapes in random colours, places, sizes and angles on noise. The same at every call."""

import numpy as np
from PIL import Image, ImageDraw

from cnn_app.data.dataset import Dataset, complete, from_array
from cnn_app.recipe import Data

SIDE, PER_CLASS = 64, 200
CORNERS = {"triangle": 3, "square": 4, "hexagon": 6}
CLASSES = ("circle", "hexagon", "square", "star", "triangle")


def load(data: Data) -> Dataset:
    """Five classes of 200 pictures, uint8 (n, 64, 64, 3)."""
    rng = np.random.default_rng(0)
    labels = np.arange(PER_CLASS * len(CLASSES)) % len(CLASSES)
    pictures = np.stack([draw(CLASSES[label], rng) for label in labels])
    names = [f"{CLASSES[label]}-{i:04d}" for i, label in enumerate(labels)]
    return complete("shapes", CLASSES, {"train": from_array(names, labels, pictures)})


def draw(shape: str, rng: np.random.Generator) -> np.ndarray:
    """One picture of `shape`, uint8 (64, 64, 3)."""
    ground = rng.normal(rng.uniform(0, 255, 3), 16, (SIDE, SIDE, 3))
    picture = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    radius = rng.uniform(12, 24)
    middle = rng.uniform(radius, SIDE - radius, 2)
    colour = tuple(int(value) for value in (ground.mean((0, 1)) + rng.uniform(80, 176, 3)) % 256)
    if shape == "circle":
        pen.ellipse([*(middle - radius), *(middle + radius)], fill=colour)
    else:
        corners = CORNERS.get(shape, 10)
        angles = rng.uniform(0, 2 * np.pi) + np.arange(corners) * 2 * np.pi / corners
        reach = np.where(np.arange(corners) % 2, 0.45, 1.0) if shape == "star" else np.ones(corners)
        points = middle + radius * reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        pen.polygon([tuple(point) for point in points], fill=colour)
    return np.asarray(picture)
