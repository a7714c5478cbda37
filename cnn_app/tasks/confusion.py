"""A confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnn_app.artifacts import replacing


def draw(confusion: np.ndarray, labels: Sequence[str], title: str, path: Path) -> None:
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
    with replacing(path) as scratch:
        figure.savefig(scratch, dpi=120, format="png")
