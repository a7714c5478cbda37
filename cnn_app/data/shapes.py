"""Drawn images: five shapes in random colours, places, sizes and angles on noise. The same at every call."""

import numpy as np
from PIL import Image, ImageDraw

from cnn_app.data import Records
from cnn_app.data.dataset import Split, in_memory
from cnn_app.recipe import Data

SIDE, PER_CLASS = 64, 200
# Corners of each shape as radii around the circle, in units of its size.
CORNERS = {
    "circle": (1.0,) * 60,
    "cross": (1.0, 0.45, 1.0) * 4,
    "square": (1.0,) * 4,
    "star": (1.0, 0.45) * 5,
    "triangle": (1.0,) * 3,
}
CLASSES = tuple(CORNERS)


def load(data: Data) -> Records:
    """Five classes of 200 images, uint8 (n, 64, 64, 3)."""
    rng = np.random.default_rng(0)
    classes = np.arange(PER_CLASS * len(CLASSES)) % len(CLASSES)
    images = np.stack([draw(CLASSES[number], rng) for number in classes])
    names = [f"{CLASSES[number]}-{i:04d}" for i, number in enumerate(classes)]
    return Records({"train": Split(names, {"image": in_memory(images)}, {"class": in_memory(classes)})}, CLASSES)


def draw(shape: str, rng: np.random.Generator) -> np.ndarray:
    """One image of `shape`, uint8 (64, 64, 3)."""
    grain, fill, points = sketch(shape, rng)
    return painted(grain, [(points, fill)])


def sketch(shape: str, rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, ...], np.ndarray]:
    """The ground, the colour of `shape`, and its corners (n, 2)."""
    grain = ground(rng)
    fill, radius, angle = colour(grain, rng), rng.uniform(16, 28), rng.uniform(0, 2 * np.pi)
    return grain, fill, corners(shape, rng.uniform(radius, SIDE - radius, 2), radius, angle)


def ground(rng: np.random.Generator) -> np.ndarray:
    """One colour with noise, float (64, 64, 3)."""
    return rng.normal(rng.uniform(0, 255, 3), 8, (SIDE, SIDE, 3))


def colour(grain: np.ndarray, rng: np.random.Generator) -> tuple[int, ...]:
    """Another than that of the ground."""
    return tuple(int(value) for value in (grain.mean((0, 1)) + rng.uniform(80, 176, 3)) % 256)


def corners(shape: str, centre: np.ndarray, radius: float, angle: float) -> np.ndarray:
    """(n, 2): x and y."""
    radii = radius * np.array(CORNERS[shape])
    angles = angle + np.arange(len(radii)) * 2 * np.pi / len(radii)
    return centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def painted(grain: np.ndarray, shapes) -> np.ndarray:
    """The ground under shapes, each its corners and its colour."""
    image = Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8))
    for points, fill in shapes:
        ImageDraw.Draw(image).polygon([tuple(point) for point in points], fill=fill)
    return np.asarray(image)
