"""Boxes over their images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cnn_app.errors import printable
from cnn_app.tasks.drawing import save

COLOUR = (255, 40, 40)


def framed(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """An image uint8 (h, w, 1 or 3) with its box, in shares of its sides; uint8 (h, w, 3)."""
    from PIL import Image, ImageDraw

    high, wide = image.shape[:2]
    picture = Image.fromarray(np.broadcast_to(image, (high, wide, 3)).copy())
    x1, y1, x2, y2 = np.round(box * [wide, high, wide, high])
    corners = [x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)]
    ImageDraw.Draw(picture).rectangle(corners, outline=COLOUR, width=max(1, min(high, wide) // 64))
    return np.asarray(picture)


def draw(image: np.ndarray, view: np.ndarray, sides: np.ndarray, box: np.ndarray, title: str, path: Path) -> None:
    """What the network sees (h, w, 1 or 3) where it lies in the original of `sides`, and the box, in its pixels."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    high, wide = map(int, sides)
    scale = 6.5 / max(high, wide)
    figure = Figure((max(3, wide * scale) + 0.8, max(2, high * scale) + 0.9), layout="constrained")
    axes = figure.add_subplot()
    x1, y1, x2, y2 = view
    axes.imshow(np.broadcast_to(image, (*image.shape[:2], 3)), extent=(x1, x2, y2, y1))
    left, top, right, bottom = box
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, linewidth=2.5,
                             edgecolor=np.array(COLOUR) / 255))  # fmt: skip
    axes.set(xlim=(0, wide), ylim=(high, 0), aspect="equal")
    axes.set_title(printable(title), fontsize=9, parse_math=False)
    save(figure, path)
