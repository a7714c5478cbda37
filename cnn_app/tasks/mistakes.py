"""Wrong answers, and a contact sheet of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_app.tasks.drawing import picture, save

COLUMNS = 6
WIDTH = 22  # characters of a label that fit above an image


@dataclass(frozen=True)
class Mistake:
    """A record that was taken for something else."""

    place: int  # in its split
    true: str
    found: str
    probability: float  # of what was found


def draw(cells: Iterable[tuple[Mistake, np.ndarray]], title: str, path: Path) -> None:
    """Each image (h, w, 1 or 3) under what it is and what was found in it, as a PNG."""
    from matplotlib.figure import Figure

    cells = list(cells)
    lines = max(1, -(-len(cells) // COLUMNS))
    figure = Figure((2.1 * COLUMNS, 2.7 * lines + 0.5), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(lines, COLUMNS, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, (mistake, image) in zip(grid, cells, strict=False):
        picture(axes, image)
        axes.set_title(f"is {_short(mistake.true)}\n{_short(mistake.found)} {mistake.probability:.1%}", fontsize=8)
    save(figure, path, dpi=110)


def _short(label: str) -> str:
    return label if len(label) <= WIDTH else f"{label[: WIDTH - 1]}…"
