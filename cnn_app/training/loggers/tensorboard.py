"""Scalars for TensorBoard, in tensorboard/."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cnn_app.training.loggers import Write

NEEDS = "tensorboard"
FOLDER = "tensorboard"


@contextmanager
def writing(place: Path, facts: Mapping) -> Iterator[Write]:
    from tensorboard.summary import Writer

    writer = Writer(str(place / FOLDER))

    def write(step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    try:
        yield write
    finally:
        writer.close()
