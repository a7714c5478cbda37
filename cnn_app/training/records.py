"""What a run leaves beside its weights: history.csv, curves.png, and the versions it ran with."""

from __future__ import annotations

import csv
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata

from cnn_app.artifacts import ModelDir
from cnn_app.atomic import write_csv
from cnn_app.tasks import Task, main_metric
from cnn_app.tasks.drawing import save

PACKAGES = ("cnn-app", "keras", "tensorflow", "numpy")


def write_history(directory: ModelDir, rows: list[dict]) -> None:
    """One line an epoch: epoch, step, lr, means over the epoch, metrics on training records as they are, and on val."""
    write_csv(directory.history, rows)


def read_history(directory: ModelDir) -> list[dict[str, str]]:
    """Its lines; none where no epoch has ended."""
    if not directory.history.is_file():
        return []
    with directory.history.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def draw_curves(directory: ModelDir, rows: list[dict], best_epoch: int, task: Task, title: str) -> None:
    """Loss, main metric and learning rate by epoch, as curves.png; the kept epoch is marked."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure((11, 3.6), layout="constrained")
    figure.suptitle(title)
    epochs = [row["epoch"] for row in rows]
    main = main_metric(task)
    panels = (
        (task.titles["loss"], alike(rows, "loss")),
        (task.titles[main], alike(rows, main)),
        ("learning rate", {"": "lr"}),
    )
    for axes, (label, curves) in zip(figure.subplots(1, 3), panels, strict=True):
        for name, column in curves.items():
            points = [(epoch, row[column]) for epoch, row in zip(epochs, rows, strict=True) if column in row]
            if points:
                axes.plot(*zip(*points, strict=True), marker="." if len(rows) < 40 else None, label=name)
        axes.axvline(best_epoch, color="0.6", linestyle=":", label=f"kept: epoch {best_epoch}")
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if label == task.titles[main]:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        if len(curves) > 1:
            axes.legend()
    save(figure, directory.curves)


def alike(rows: Sequence[Mapping], metric: str) -> dict[str, str]:
    """Legend -> column. Training records are shown as they are measured, or else as they were learned."""
    train = f"train_{metric}" if rows and f"train_{metric}" in rows[-1] else metric
    return {"train": train, "val": f"val_{metric}"}


def versions() -> dict[str, str]:
    """Of Python and the packages that decide a result."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}
