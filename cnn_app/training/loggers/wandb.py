"""A run of Weights & Biases, where its environment says, such as WANDB_PROJECT and WANDB_MODE=offline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cnn_app.training.loggers import Write

NEEDS = "wandb"


@contextmanager
def writing(place: Path, facts: Mapping) -> Iterator[Write]:
    import wandb

    with wandb.init(name=place.name, dir=str(place), config=dict(facts)) as run:

        def write(step: int, numbers: Mapping[str, float]) -> None:
            run.log(dict(numbers), step=step)

        yield write
