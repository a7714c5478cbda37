"""What a run leaves beside its weights: history.csv, curves.png, and the versions it ran with."""

from __future__ import annotations

import platform
from importlib import metadata

from cnn_app.artifacts import ModelDir
from cnn_app.atomic import write_csv
from cnn_app.tasks import Task, main_metric
from cnn_app.tasks.drawing import save

PACKAGES = ("cnn-app", "keras", "tensorflow", "numpy")


def write_history(directory: ModelDir, rows: list[dict]) -> None:
    """One line an epoch: epoch, step, lr, then means over the epoch and metrics on val."""
    write_csv(directory.history, rows)


def draw_curves(directory: ModelDir, rows: list[dict], best_epoch: int, task: Task, title: str) -> None:
    """Loss, main metric and learning rate by epoch, as curves.png; the kept epoch is marked."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure((11, 3.6), layout="constrained")
    figure.suptitle(title)
    epochs = [row["epoch"] for row in rows]
    main = main_metric(task)
    panels = (
        (task.titles["loss"], {"train": "loss", "val": "val_loss"}),
        (task.titles[main], {"train": main, "val": f"val_{main}"}),
        ("learning rate", {"": "lr"}),
    )
    for axes, (label, curves) in zip(figure.subplots(1, 3), panels, strict=True):
        for name, column in curves.items():
            if column in rows[0]:
                axes.plot(epochs, [row[column] for row in rows], marker="." if len(rows) < 40 else None, label=name)
        axes.axvline(best_epoch, color="0.6", linestyle=":", label=f"kept: epoch {best_epoch}")
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if label == task.titles[main]:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        if len(curves) > 1:
            axes.legend()
    save(figure, directory.curves)


def versions() -> dict[str, str]:
    """Of Python and the packages that decide a result."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}
