"""Images beside their reconstructions, and what is decoded from codes, as PNGs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnn_app.errors import printable
from cnn_app.tasks.drawing import picture, save

CELL = 1.15  # inches of an image
Cell = tuple[np.ndarray, str]  # pixels uint8 (h, w, 1 or 3), and what stands under them


def as_pixels(images: np.ndarray) -> np.ndarray:
    """From [0, 1] to uint8."""
    return np.round(255 * np.asarray(images, np.float64).clip(0, 1)).astype(np.uint8)


def draw(image: np.ndarray, found: np.ndarray, name: str, path: Path) -> None:
    """An image uint8 (h, w, c) beside its reconstruction in [0, 1], with the error."""
    from matplotlib.figure import Figure

    error = float(np.square(image / 255 - found).mean())
    figure = Figure((6, 3.5), layout="constrained")
    told = name if len(name) < 60 else f"...{name[-57:]}"
    figure.suptitle(f"{printable(told)}: squared error {error:.4f}", fontsize=10, parse_math=False)
    for axes, (pixels, title) in zip(
        figure.subplots(1, 2), ((image, "image"), (as_pixels(found), "reconstruction")), strict=True
    ):
        picture(axes, pixels)
        axes.set_title(title, fontsize=10)
    save(figure, path)


def draw_rows(rows: Sequence[tuple[str, Sequence[Cell]]], title: str, path: str | os.PathLike[str]) -> None:
    """Rows of images with captions, each row with a name at its left."""
    from matplotlib.figure import Figure

    wide = max(len(cells) for _, cells in rows)
    high = [CELL + (0.16 if any(words for _, words in cells) else 0.0) for _, cells in rows]
    figure = Figure((CELL * wide + 0.5, sum(high) + 0.5), layout="constrained")
    figure.suptitle(printable(title), fontsize=9, parse_math=False)
    grid = figure.subplots(len(rows), wide, squeeze=False, height_ratios=high)
    for line, (name, cells) in zip(grid, rows, strict=True):
        for axes in line[len(cells) :]:
            axes.set_axis_off()
        for axes, (pixels, words) in zip(line, cells, strict=False):
            picture(axes, pixels)
            axes.set_xlabel(words, fontsize=7, parse_math=False)
        line[0].set_ylabel(name, fontsize=7, parse_math=False)
    save(figure, path, dpi=130)


def draw_errors(errors: np.ndarray, path: Path) -> None:
    """How many images have which squared error (n,)."""
    from matplotlib.figure import Figure

    figure = Figure((7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.hist(errors, bins=min(50, max(5, len(errors) // 10)))
    axes.axvline(errors.mean(), color="C1", label=f"mean {errors.mean():.4f}")
    axes.set(xlabel="squared error of an image, pixels in [0, 1]", ylabel="images", title=f"{len(errors):,} images")
    axes.legend()
    save(figure, path)
