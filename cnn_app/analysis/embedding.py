"""Images of deep features: a data set as points of the plane, and an image with its neighbours."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnn_app.data.dataset import Dataset
from cnn_app.errors import DataError
from cnn_app.tasks import Task
from cnn_app.tasks.drawing import picture, save

PERPLEXITY = 30  # neighbours that t-SNE keeps near (van der Maaten, Hinton 2008)
COLUMNS = 5  # of a contact sheet
LEGEND = 20  # classes that colours and a legend can tell apart


def draw_map(
    vectors: np.ndarray, targets: np.ndarray, labels: Sequence[str], method: str, title: str,
    path: str | os.PathLike[str], seed: int = 0,
) -> None:  # fmt: skip
    """(n, width) as points in the plane, coloured by class, of which there may be none, into a PNG."""
    from matplotlib.figure import Figure

    points, axes_names = _plane(vectors, method, seed)
    figure = Figure((9, 6.5), layout="constrained")
    axes = figure.add_subplot()
    labels = labels or ("all",)
    for place, label in enumerate(labels):
        chosen = points[targets == place]
        colour = f"C{place}" if len(labels) <= 10 else _colour(place, len(labels))
        axes.scatter(*chosen.T, s=14, color=colour, alpha=0.75, linewidths=0, label=f"{label} ({len(chosen)})")
        if len(labels) > LEGEND and len(chosen):
            axes.annotate(label, np.median(chosen, 0), fontsize=7, ha="center", weight="bold")
    axes.set(xlabel=axes_names[0], ylabel=axes_names[1], title=title)
    if method == "tsne":
        axes.set(xticks=[], yticks=[])  # its distances have no unit
    if len(labels) <= LEGEND:
        figure.legend(loc="outside right upper", title="class (images)")
    save(figure, path)


def draw_sheet(
    query: str | os.PathLike[str], dataset: Dataset, task: Task, neighbours: Sequence[dict],
    path: str | os.PathLike[str],
) -> None:  # fmt: skip
    """A contact sheet as a PNG: the image at `query` in a frame, then its `neighbours` in the prepared data set."""
    from matplotlib.figure import Figure

    cells = [(task.input.load(Path(query).read_bytes(), os.fspath(query))["image"], _short(os.fspath(query)))]
    for row in neighbours:
        split = dataset.splits[row["split"]]
        pixels = split.inputs["image"].one(list(split.names).index(row["image"]))
        cells.append((pixels, f"{row['label']}  {row['cosine']:.3f}\n{_short(row['image'])}"))
    lines = -(-len(cells) // COLUMNS)
    figure = Figure((2.2 * COLUMNS, 2.6 * lines + 0.4), layout="constrained")
    figure.suptitle("The image in the red frame, and its nearest neighbours by the cosine of their features")
    for place, (pixels, caption) in enumerate(cells, start=1):
        axes = figure.add_subplot(lines, COLUMNS, place)
        picture(axes, pixels)
        axes.set_title(caption, fontsize=8)
        for side in axes.spines.values():
            side.set(visible=place == 1, linewidth=3, color="C3")
    save(figure, path, dpi=110)


def _plane(vectors: np.ndarray, method: str, seed: int) -> tuple[np.ndarray, tuple[str, str]]:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(vectors) < 4:
        raise DataError(f"a map needs at least four images, received {len(vectors)}")
    if method == "pca":
        pca = PCA(2, random_state=seed)
        points = pca.fit_transform(vectors)
        first, second = pca.explained_variance_ratio_
        return points, (f"first component ({first:.0%} of variance)", f"second component ({second:.0%} of variance)")
    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    points = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors)
    return points, ("t-SNE 1", "t-SNE 2")


def _short(path: str, length: int = 28) -> str:
    name = os.path.basename(path)
    return name if len(name) <= length else f"{name[: length // 2]}…{name[-length // 2 + 1 :]}"


def _colour(place: int, classes: int):
    from matplotlib import colormaps

    return colormaps["tab20" if classes <= LEGEND else "nipy_spectral"](place / max(1, classes - 1))
