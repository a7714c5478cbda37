"""The images of `shapes` with masks of the ground and of the five shapes. The same at every call."""

import numpy as np
from PIL import Image, ImageDraw

from cnn_app.data import Records
from cnn_app.data.dataset import Split, in_memory
from cnn_app.data.shapes import CLASSES, PER_CLASS, SIDE, painted, sketch
from cnn_app.recipe import Data

LABELS = ("background", *CLASSES)


def load(data: Data) -> Records:
    """1,000 images, uint8 (n, 64, 64, 3), and places of six classes, uint8 (n, 64, 64)."""
    rng = np.random.default_rng(0)
    places = np.arange(PER_CLASS * len(CLASSES)) % len(CLASSES)
    images, masks = map(np.stack, zip(*(draw(place, rng) for place in places), strict=True))
    names = [f"{CLASSES[place]}-{i:04d}" for i, place in enumerate(places)]
    return Records({"train": Split(names, {"image": in_memory(images)}, {"mask": in_memory(masks)})}, LABELS)


def draw(place: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One image of the shape at `place`, uint8 (64, 64, 3), and its mask, uint8 (64, 64)."""
    grain, fill, points = sketch(CLASSES[place], rng)
    mask = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(mask).polygon([tuple(point) for point in points], fill=1 + int(place))
    return painted(grain, [(points, fill)]), np.asarray(mask)
