"""The same held-out records through the Keras model and through a written file: how far are they apart?"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cnn_app import tasks
from cnn_app.artifacts import size_bytes
from cnn_app.errors import ArtifactError, ExportError
from cnn_app.export import budget
from cnn_app.export.budget import Interval
from cnn_app.export.golden import max_difference
from cnn_app.runtimes import latency, open_model
from cnn_app.runtimes.latency import Speed
from cnn_app.tasks import Task
from cnn_app.tensors import Arrays


@dataclass(frozen=True)
class Reference:
    """Held-out records, and what the Keras model makes of them."""

    task: Task
    inputs: Arrays
    targets: Arrays
    measured: Arrays  # outputs, and what the task measures beside them
    outputs: Arrays
    metrics: dict
    figures: dict = field(default_factory=dict)  # as in Comparison

    @property
    def n(self) -> int:
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True)
class Comparison:
    """One file against the Keras model, on n held-out records."""

    target: str
    n: int
    metric: str  # the one that drop is of
    title: str  # its name for people
    value: float
    keras_value: float
    drop: float  # points lost; of an error percent that it grew by
    agreement: float  # share of equal decisions
    max_difference: float  # of any number
    bytes: int
    speed: Speed | None = None  # None for a file that was refused
    strategy: str = ""  # what was done to keep within the budget
    figures: dict = field(default_factory=dict)  # {"split": "val"} of records that are no test
    interval: Interval | None = None  # of drop; None where the file was not chosen
    chosen: Comparison | None = None  # on the records that this way to write it was chosen by

    def as_json(self) -> dict:
        speed = self.speed
        return {
            "target": self.target, "n": self.n, self.metric: self.value, f"keras_{self.metric}": self.keras_value,
            "drop": self.drop, "agreement": self.agreement, "max_difference": self.max_difference, "bytes": self.bytes,
            "latency_ms": speed and speed.median_ms, "delegates": speed and speed.delegates,
            "ops_outside": speed and speed.ops_outside, "strategy": self.strategy, **self.figures,
            **(self.interval.as_json() if self.interval else {}),
            **({"chosen": {"split": "val", "n": self.chosen.n, "drop": self.chosen.drop,
                            "agreement": self.chosen.agreement}} if self.chosen else {}),
        }  # fmt: skip


def compare(target: str, path: Path, reference: Reference, strategy: str = "", confidence: float | None = None,
            ) -> Comparison:  # fmt: skip
    """Without the time it takes, which `timed` adds; with the drop's interval of a `confidence`."""
    task = reference.task
    try:
        measured = tasks.answers(task, task.measured(open_model(path)), reference.inputs, reference.targets)
    except ArtifactError as error:
        raise ExportError(f"{target} was written, but its runtime refuses it: {error}") from error
    metrics, main = task.measure([(measured, reference.targets)]).metrics, tasks.main_metric(task)
    found = {name: measured[name] for name in reference.outputs}
    return Comparison(
        target=target,
        n=reference.n,
        metric=main,
        title=task.titles[main],
        value=metrics[main],
        keras_value=reference.metrics[main],
        drop=tasks.drop(task, reference.metrics, metrics),
        agreement=task.agreement(found, reference.outputs),
        max_difference=max_difference(found, reference.outputs),
        bytes=size_bytes(path),
        strategy=strategy,
        figures=reference.figures,
        interval=budget.interval(task, reference.targets, reference.measured, measured, confidence)
        if confidence
        else None,
    )


def timed(path: Path) -> Speed:
    """One record on one thread, in a process of its own."""
    return latency.measure([path], trust=True)[0]
