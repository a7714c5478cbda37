"""Drawn clips: a shape on noise that moves, grows or turns, and the class is how. The same at every call."""

import numpy as np

from cnn_app.data import Records
from cnn_app.data.dataset import Split, in_memory
from cnn_app.data.shapes import SIDE, colour, corners, ground, painted
from cnn_app.recipe import Data

FRAMES, PER_CLASS = 12, 100
SHAPES = ("cross", "square", "star", "triangle")  # which can be seen to turn
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}  # x and y
GROWTH = {"grow": 1, "shrink": -1}
TURNS = {"clockwise": 1, "counterclockwise": -1}  # as they are seen, for y points down
CLASSES = tuple(sorted((*WAYS, *GROWTH, *TURNS)))


def load(data: Data) -> Records:
    """Eight classes of 100 clips, uint8 (n, 12, 64, 64, 3)."""
    rng = np.random.default_rng(0)
    classes = np.arange(PER_CLASS * len(CLASSES)) % len(CLASSES)
    clips = np.stack([draw(CLASSES[number], rng) for number in classes])
    names = [f"{CLASSES[number]}-{i:04d}" for i, number in enumerate(classes)]
    return Records({"train": Split(names, {"clip": in_memory(clips)}, {"class": in_memory(classes)})}, CLASSES)


def draw(motion: str, rng: np.random.Generator) -> np.ndarray:
    """One clip, uint8 (12, 64, 64, 3)."""
    grain, shape = ground(rng), SHAPES[rng.integers(len(SHAPES))]
    fill, radius, angle = colour(grain, rng), rng.uniform(9, 12), rng.uniform(0, 2 * np.pi)
    time = np.arange(FRAMES) - (FRAMES - 1) / 2  # from the middle, which is anywhere
    way = rng.uniform(1.6, 2.6) * np.array(WAYS.get(motion, (0, 0)))
    growth = rng.uniform(0.06, 0.1) * GROWTH.get(motion, 0)
    turn = np.radians(rng.uniform(6, 12)) * TURNS.get(motion, 0)
    margin = radius + (FRAMES / 2) * np.abs(way)
    centre = rng.uniform(margin, SIDE - margin)
    return np.stack([
        painted(grain, [(corners(shape, centre + t * way, radius * np.exp(t * growth), angle + t * turn), fill)])
        for t in time
    ])  # fmt: skip
