"""A line of JSON for each reading, in log.jsonl."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cnn_app.training.loggers import Write

NEEDS = None
FILE = "log.jsonl"


@contextmanager
def writing(place: Path, facts: Mapping) -> Iterator[Write]:
    """Lines are added to those of a run that is gone on with; `time` is in seconds since 1970."""
    with (place / FILE).open("a", encoding="utf-8") as file:

        def write(step: int, numbers: Mapping[str, float]) -> None:
            file.write(json.dumps({"time": round(time.time(), 3), "step": step, **numbers}) + "\n")
            file.flush()

        yield write
