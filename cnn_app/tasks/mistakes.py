"""Wrong answers, and a contact sheet of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cnn_app.tasks.drawing import picture, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 6
CELL = 2.1  # inches
SIZE, WIDTH = 8, 140  # points, of letters and of the room above an image
LONGEST, CUT = 60, "…"  # characters that may be shown of a label, and what stands for the rest


@dataclass(frozen=True)
class Mistake:
    """A record that was taken for something else."""

    place: int  # in its split
    true: str
    found: str
    probability: float  # of what was found


def draw(cells: Iterable[tuple[Mistake, np.ndarray]], title: str, path: str | os.PathLike[str]) -> None:
    """Each image (h, w, 1 or 3) under what it is and what was found in it, as a PNG."""
    save(sheet(list(cells), title), path, dpi=110)


def sheet(cells: Sequence[tuple[Mistake, np.ndarray]], title: str) -> Figure:
    from matplotlib.figure import Figure

    columns = min(COLUMNS, max(3, len(cells)))  # three hold the title
    lines = max(1, -(-len(cells) // columns))
    figure = Figure((CELL * columns, 2.6 * lines + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for place, (mistake, image) in enumerate(cells, start=1):
        axes = figure.add_subplot(lines, columns, place)
        picture(axes, image)
        told = (_line("true: ", mistake.true), _line("found: ", mistake.found, f" {mistake.probability:.1%}"))
        axes.set_title("\n".join(told), fontsize=SIZE, parse_math=False)
    return figure


def _line(before: str, label: str, after: str = "") -> str:
    """The label cut to what fits above an image, with what stands around it."""
    kept = label[:LONGEST]
    while kept and _points(before + kept + CUT + after) > WIDTH:
        kept = kept[:-1]
    return before + (label if kept == label else kept + CUT) + after


def _points(text: str) -> float:
    """How wide it is drawn."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    return text_to_path.get_text_width_height_descent(text, FontProperties(size=SIZE), ismath=False)[0]
