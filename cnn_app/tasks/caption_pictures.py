"""Images with what is said of them."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill

import numpy as np

from cnn_app.errors import printable
from cnn_app.tasks.drawing import LINE, picture, save


def under(caption: str) -> str:
    """In lines that fit under an image of a sheet."""
    return fill(printable(caption), LINE) or "(nothing)"


def draw(image: np.ndarray, caption: str, name: str, path: Path) -> None:
    """The image (h, w, 1 or 3) as the network sees it under its name and over its caption, as PNG."""
    from matplotlib.figure import Figure

    high, wide = image.shape[:2]
    figure = Figure((5.0, min(9.0, 4.6 * high / wide) + 1.0), layout="constrained")
    axes = figure.add_subplot()
    picture(axes, image)
    axes.set_title(printable(name), fontsize=8, parse_math=False)
    axes.set_xlabel(fill(printable(caption), 46), fontsize=12, parse_math=False)
    save(figure, path)
