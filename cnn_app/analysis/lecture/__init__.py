"""The figures of a lecture on convolutional networks (COMP541, lecture 5), computed here, with why some differ.

To add a topic: a function of its name that returns a `Topic`, and a line in TOPICS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from cnn_app.errors import unknown

TOPICS = {  # name -> the module here that has it
    "convolution": "arithmetic",
    "output_volume": "arithmetic",
    "pooling": "arithmetic",
    "one_by_one": "arithmetic",
    "transposed": "arithmetic",
    "receptive_field": "fields",
    "dilation": "fields",
    "alexnet": "networks",
    "googlenet": "networks",
    "totals": "networks",
    "residual": "networks",
    "small_filters": "savings",
    "groups": "savings",
    "resnext": "savings",
    "mobilenet": "savings",
    "squeeze": "savings",
    "low_rank": "savings",
}


@dataclass(frozen=True)
class Topic:
    """What the lecture says and what comes out here, row by row."""

    title: str
    columns: tuple[str, ...]  # one that starts with > is right-aligned
    rows: list[tuple[str, ...]]
    reasons: tuple[str, ...] = ()  # where they differ, a sentence or more each
    draw: Callable[[Path], None] | None = None  # writes a PNG

    def __post_init__(self):
        assert all(len(row) == len(self.columns) for row in self.rows), self.title


def topic(name: str) -> Topic:
    if name not in TOPICS:
        raise unknown("topic", name, TOPICS)
    return getattr(import_module(f"cnn_app.analysis.lecture.{TOPICS[name]}"), name)()


def markdown() -> str:
    """The page of all topics, docs/lecture.md."""
    from cnn_app.analysis.summary import table

    parts = [INTRODUCTION]
    for name in TOPICS:
        found = topic(name)
        parts += [f"## {found.title}", f"`cnn-app lecture {name}`", table(found.columns, found.rows)]
        parts += ["\n".join(f"- {reason}" for reason in found.reasons)] if found.reasons else []
    return "\n\n".join(parts)


INTRODUCTION = """\
# The lecture, computed

What a lecture on convolutional networks states (COMP541 Deep Learning, lecture 5), beside what comes out of the
networks here, and why where the two differ. `cnn-app lecture` prints all of it, `cnn-app lecture TOPIC` one topic;
`--out FOLDER` draws what can be drawn, `--json` is for programs. A multiply-add is one kernel tap for one output; M is
a million, MiB 2^20 bytes of float32. This page is written by `make docs`."""
