"""Masks at the size of the images that they are of, as files: places with a palette, and over their images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnn_app.atomic import replacing
from cnn_app.tasks import mask_pictures
from cnn_app.tasks.masks import IGNORED

if TYPE_CHECKING:
    from cnn_app.inputs.frame import Frame

STRIP = 256  # rows that are painted at a time


def at_size(places: np.ndarray, frame: Frame, sides: tuple[int, int]) -> np.ndarray:
    """A network's map (h, w) -> uint8 (H, W) of its image: the nearest place, IGNORED where it saw none."""
    import tensorflow as tf

    from cnn_app.inputs.framing import window

    found = window(tf.constant(sides), tf.constant(frame.shape[:2]), frame)
    scaled, before = (tensor.numpy() for tensor in found)
    margins = mask_pictures.margins(places.shape, frame.shape[:2])
    axes = []
    for side, size, cut, (margin, _), there in zip(sides, scaled, before, margins, places.shape, strict=True):
        found = np.floor((np.arange(side) + 0.5) * size / side - cut).astype(int) - margin
        axes.append((np.flatnonzero((found >= 0) & (found < there)), found))
    (rows, down), (columns, across) = axes
    grown = np.full(sides, IGNORED, np.uint8)
    grown[np.ix_(rows, columns)] = places[np.ix_(down[rows], across[columns])]
    return grown


def write(places: np.ndarray, classes: int, path: Path) -> None:
    """A PNG of the places of classes, with their colours as its palette."""
    from PIL import Image

    table = np.zeros((256, 3), np.uint8)
    table[:classes] = mask_pictures.colours(classes)[:, :3]
    picture = Image.fromarray(places)
    picture.putpalette(table.tobytes())
    with replacing(path) as scratch:
        picture.save(scratch, "PNG")


def write_over(image: np.ndarray, places: np.ndarray, classes: int, path: Path) -> None:
    """A PNG of the image under its mask."""
    from PIL import Image

    painted = np.empty(image.shape, np.uint8)
    for start in range(0, len(image), STRIP):
        rows = slice(start, start + STRIP)
        painted[rows] = mask_pictures.painted(image[rows], places[rows], classes)
    with replacing(path) as scratch:
        Image.fromarray(painted).save(scratch, "PNG", compress_level=3)
