"""Networks side by side: what each costs by layer, and how accurate it is for that."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from cnn_app.analysis import inspection
from cnn_app.analysis.inspection import Row
from cnn_app.architectures.reference import REFERENCE
from cnn_app.artifacts import Card
from cnn_app.atomic import replacing
from cnn_app.data.dataset import called
from cnn_app.heads import plain

MIB = 2**20
MOST_BARS = 24  # of a network; one with more layers is drawn by stages
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito
MARKERS = "osD^v<>P*X"
FORMATS = ("png", "svg")


@dataclass(frozen=True)
class Accuracy:
    """A share of right answers, and of what."""

    top1: float  # percent
    data: str  # that it is of
    source: str  # who says so


@dataclass(frozen=True)
class Compared:
    """One network's costs, as `inspection.totals` counts them, for one record."""

    name: str
    family: str
    parameters: int
    macs: int
    activation_bytes: int
    peak_activation_bytes: int
    layers: list[Row]  # those that have weights
    accuracy: Accuracy | None = None


def compared(name: str, family: str, model: keras.Model, accuracy: Accuracy | None) -> Compared:
    model = plain(model)
    found = inspection.totals(model)
    layers = [row for row in inspection.rows(model) if row.macs]
    if len(layers) > MOST_BARS:
        layers = [row for row in inspection.stages(inspection.rows(model)) if row.macs]
    return Compared(name, family, found["trainable"], found["macs"], found["activation_bytes"],
                    found["peak_activation_bytes"], layers, accuracy)  # fmt: skip


def published(name: str) -> Accuracy | None:
    """What its source has measured of a network, if there is one in the table."""
    known = REFERENCE[name]
    if known.top1 is None:
        return None
    source, _, data = known.source.partition("; ")
    return Accuracy(known.top1, data or "ImageNet", source)


def of_card(card: Card) -> Accuracy | None:
    """Of the test split of its own data."""
    measured = card.metrics.get("test", {})
    if "top1" not in measured:
        return None
    return Accuracy(100 * measured["top1"], str(card.data.get("source", "its data")), called(measured))


def family_of(name: str) -> str:
    """resnet18 and resnet50 are one, mobilenet_v1 and mobilenet_v2 are two."""
    return re.sub(r"(?<![v_])\d.*", "", name)


def draw_layers(networks: Sequence[Compared], folder: Path) -> list[Path]:
    """Memory, parameters and multiply-adds of each layer as bars: a column for each network, scales shared."""
    from matplotlib.figure import Figure

    measures = (
        ("memory of outputs (MiB)", lambda row: row.activation_bytes / MIB),
        ("parameters (M)", lambda row: row.parameters / 1e6),
        ("multiply-adds (M)", lambda row: row.macs / 1e6),
    )
    widths = [max(4.0, 0.27 * len(one.layers) + 1) for one in networks]
    figure = Figure((sum(widths), 8.5), layout="constrained")
    grid = figure.subplots(3, len(networks), sharey="row", squeeze=False, width_ratios=widths)
    for column, one in enumerate(networks):
        names = [row.name for row in one.layers]
        for line, (title, of) in enumerate(measures):
            axes, values = grid[line, column], [of(row) for row in one.layers]
            axes.bar(range(len(names)), values, color=COLOURS[column % len(COLOURS)])
            axes.set_xticks(range(len(names)), names if line == 2 else [""] * len(names), rotation=90, fontsize=8)
            axes.set_title(f"{one.name}: {sum(values):,.2f} in all" if line else
                           f"{one.name}\n{sum(values):,.2f} in all", fontsize=9)  # fmt: skip
            axes.grid(axis="y", alpha=0.3)
            axes.set_axisbelow(True)
            if column == 0:
                axes.set_ylabel(title)
    return _saved(figure, folder, "layers")


def draw_accuracy(networks: Sequence[Compared], folder: Path) -> list[Path]:
    """Top-1 over multiply-adds; areas are parameters, lines join a family's on the same data. Nothing without two."""
    known = [one for one in networks if one.accuracy is not None]
    if len(known) < 2:
        return []
    from matplotlib.figure import Figure

    figure = Figure((9, 6), layout="constrained")
    axes = figure.add_subplot()
    groups: dict[tuple[str, str], list[Compared]] = {}
    for one in sorted(known, key=lambda one: one.macs):
        groups.setdefault((one.family, one.accuracy.data), []).append(one)
    data = list(dict.fromkeys(what for _, what in groups))
    most = max(one.parameters for one in known)
    for number, ((family, what), members) in enumerate(groups.items()):
        colour, places = COLOURS[number % len(COLOURS)], [(one.macs / 1e6, one.accuracy.top1) for one in members]
        axes.plot(*zip(*places, strict=True), color=colour, alpha=0.5)
        axes.scatter(*zip(*places, strict=True), s=[900 * one.parameters / most + 12 for one in members], alpha=0.6,
                     color=colour, marker=MARKERS[data.index(what) % len(MARKERS)],
                     label=f"{family}, {what}")  # fmt: skip
    for one in known:
        reach = (900 * one.parameters / most + 12) ** 0.5 / 2  # of its circle, in points
        axes.annotate(one.name, (one.macs / 1e6, one.accuracy.top1), xytext=(0, reach + 2), va="bottom", ha="center",
                      textcoords="offset points", fontsize=8)  # fmt: skip
    axes.set(xscale="log", xlabel="multiply-adds of an image (M)", ylabel="top-1 (%)",
             title=f"Areas are parameters; the largest is {most / 1e6:.1f} M")  # fmt: skip
    axes.grid(alpha=0.3)
    axes.margins(0.12)
    legend = figure.legend(loc="outside right upper", title="family, data", fontsize=8)
    for handle in legend.legend_handles:
        handle.set_sizes([40])
    return _saved(figure, folder, "accuracy")


def _saved(figure, folder: str | os.PathLike[str], name: str) -> list[Path]:
    paths = [Path(folder) / f"{name}.{ending}" for ending in FORMATS]
    for path, ending in zip(paths, FORMATS, strict=True):
        with replacing(path) as scratch:
            figure.savefig(scratch, dpi=120, format=ending)
    return paths
