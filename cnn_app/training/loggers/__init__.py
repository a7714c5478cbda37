"""Where a run's numbers are written beside its history: one module each, whose name `LOGGERS` lists.

A module has `NEEDS`, the package without which it cannot work, and a context manager `writing(place, facts)`, whose
value is called as write(step, numbers) whenever there are new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_app.errors import TrainingError, unknown

if TYPE_CHECKING:
    from cnn_app.training.engine import Watch

LOGGERS = ("jsonl", "tensorboard", "mlflow", "wandb")
Write = Callable[[int, Mapping[str, float]], None]


def check(names: tuple[str, ...]) -> None:
    """Raise TrainingError for a logger that is unknown, or lacks its package."""
    for name in names:
        if name not in LOGGERS:
            raise unknown("log", name, LOGGERS, TrainingError)
        needs = _named(name).NEEDS
        if needs and find_spec(needs) is None:
            raise TrainingError(f"the log {name} needs {needs}: pip install {needs}")


@contextmanager
def logged(names: tuple[str, ...], place: Path, facts: Mapping, watch: Watch) -> Iterator[Watch]:
    """`watch`, and loggers of these names that write into the folder `place`, or to where they are set up to.

    facts: what the run is, for loggers that show it.
    """
    with ExitStack() as stack:
        writes = [stack.enter_context(_named(name).writing(place, facts)) for name in names]
        seen: list[Mapping] = [{}]

        def step(epoch: int, done: int, steps: int, logs: dict) -> None:
            watch.step(epoch, done, steps, logs)
            if logs and logs is not seen[0]:  # means are made anew when they are read
                seen[0] = logs
                _tell(writes, epoch * steps + done, {f"running/{name}": value for name, value in logs.items()})

        def epoch(row: dict) -> None:
            watch.epoch(row)
            _tell(writes, row["step"], {_title(name): value for name, value in row.items() if name != "step"})

        yield replace(watch, step=step, epoch=epoch)


def _tell(writes: list[Write], step: int, numbers: Mapping[str, float]) -> None:
    for write in writes:
        write(step, numbers)


def _title(name: str) -> str:
    """val_loss as val/loss, by which viewers make groups."""
    group, _, metric = name.partition("_")
    return f"{group}/{metric}" if group in ("train", "val") else f"running/{name}" if name != "epoch" else name


def _named(name: str):
    return import_module(f"cnn_app.training.loggers.{name}")
