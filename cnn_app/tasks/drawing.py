"""Answers and tables as pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

import numpy as np

from cnn_app.atomic import replacing
from cnn_app.errors import printable

CELL, LINE = 1.6, 26  # of a sheet: inches of an image's width, and letters of a caption that fit under it


def draw_top(top: Sequence[dict], image: np.ndarray | None, title: str, path: Path) -> None:
    """The best classes as bars into a PNG, beside the image they are of, where there is one (h, w, 1 or 3)."""
    from matplotlib.figure import Figure

    figure = Figure((8.5, 3.6), layout="constrained")
    figure.suptitle(title if len(title) < 100 else f"{title[:97]}...")
    axes = figure.subplots(1, 2 if image is not None else 1, squeeze=False)[0]
    if image is not None:
        picture(axes[0], image)
    rows = list(reversed(top))
    bars = axes[-1].barh([row["label"] for row in rows], [row["probability"] for row in rows])
    axes[-1].bar_label(bars, fmt="{:.1%}", padding=3)
    axes[-1].set(xlim=(0, 1.15), xlabel="probability", xticks=[0, 0.5, 1])
    save(figure, path)


def draw_confusion(confusion: np.ndarray, labels: Sequence[str], title: str, path: Path) -> None:
    """(true, predicted) counts as a PNG: shares of each true class, with counts where they fit."""
    from matplotlib.figure import Figure

    shares = confusion / np.maximum(1, confusion.sum(1, keepdims=True))
    side = min(16.0, 3 + 0.45 * len(labels))
    figure = Figure((side + 1, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    axes.set(xlabel="predicted", ylabel="true", title=title)
    if len(labels) <= 60:
        axes.set_xticks(range(len(labels)), labels, rotation=90)
        axes.set_yticks(range(len(labels)), labels)
    if len(labels) <= 25:
        for (row, column), count in np.ndenumerate(confusion):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, f"{count}", ha="center", va="center", color=colour, fontsize=8)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    save(figure, path)


def draw_bars(labels: Sequence[str], shares: np.ndarray, what: str, title: str, path: Path) -> None:
    """A share (classes,) of each label as bars into a PNG, the first on top."""
    from matplotlib.figure import Figure

    figure = Figure((7, min(40.0, 1.2 + 0.3 * len(labels))), layout="constrained")
    axes = figure.add_subplot()
    bars = axes.barh(labels, shares)
    axes.bar_label(bars, fmt="{:.3f}", padding=3, fontsize=8)
    axes.set(xlim=(0, 1.12), xticks=[0, 0.25, 0.5, 0.75, 1], xlabel=what, title=title)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    save(figure, path)


def picture(axes, image: np.ndarray) -> None:
    """Pixels (h, w, 1 or 3) without ticks."""
    axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
    axes.set(xticks=[], yticks=[])


def caption(labels: Sequence[str], shares: np.ndarray, most: int = 2) -> str:
    """The label of a record, or those of the largest shares of it, a line each."""
    order = [i for i in np.argsort(-shares, kind="stable")[:most] if shares[i] >= 0.005]
    return "\n".join(_short(labels[i], LINE) if shares[i] > 0.995 else f"{_short(labels[i], LINE - 4)} {shares[i]:.0%}"
                     for i in order)  # fmt: skip


def draw_sheet(
    rows: Sequence[Sequence[tuple[np.ndarray, str]]], names: Sequence[str], title: str, key: Mapping[str, str],
    path: str | os.PathLike[str],
) -> None:  # fmt: skip
    """A PNG of images uint8 (h, w, 1 or 3) with captions under them, of which the first in a row is unchanged.

    names: of the rows. key: label -> its colour in the images, for a legend.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    high, wide, _ = rows[0][0][0].shape
    tall = min(3.0, max(0.4, high / wide))  # of an image, in its widths
    lines = max(words.count("\n") + 1 for row in rows for _, words in row)
    size = CELL * len(rows[0]) + 0.4, (CELL * tall + 0.14 * lines + 0.12) * len(rows) + 0.7 + (0.4 if key else 0)
    figure = Figure(size, layout="constrained")
    figure.suptitle(fill(printable(title), int(size[0] * 13)), fontsize=9, parse_math=False)
    grid = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for place, (axes, row, name) in enumerate(zip(grid, rows, names, strict=True)):
        axes[0].set_ylabel(_short(name, int(LINE * tall), end=True), fontsize=6, parse_math=False)
        for number, (ax, (image, words)) in enumerate(zip(axes, row, strict=True)):
            picture(ax, image)
            ax.set_xlabel(words, fontsize=7, parse_math=False)
            if place == 0:
                ax.set_title(f"augmented {number}" if number else "unchanged", fontsize=8)
    if key:
        patches = [Patch(facecolor=colour, edgecolor="0.4", label=_short(label, LINE)) for label, colour in key.items()]
        figure.legend(handles=patches, loc="outside lower center", ncols=min(5, len(patches)), fontsize=7)
    save(figure, path, dpi=150)


def _short(text: str, most: int, end: bool = False) -> str:
    """At most so many characters, from its start or up to its end."""
    text = printable(text)
    return text if len(text) <= most else f"...{text[3 - most :]}" if end else f"{text[: most - 3]}..."


def save(figure, path: str | os.PathLike[str], dpi: int = 120) -> None:
    """A figure of matplotlib as PNG."""
    with replacing(path) as scratch:
        figure.savefig(scratch, dpi=dpi, format="png")
