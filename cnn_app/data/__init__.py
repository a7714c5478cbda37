"""Where data comes from and how it is read: sources, splits, batches. Nothing here knows a task.

A named source is a module here with `load(data) -> Records`; `SOURCES` is the one place to add the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from cnn_app.errors import DataError
from cnn_app.recipe import Data

if TYPE_CHECKING:
    import numpy as np

    from cnn_app.data.dataset import Split

SOURCES = {  # a name, or what stands in front of one up to its colon -> module
    "digits": "digits",
    "shapes": "shapes",
    "shapes:many": "many_shapes",
    "shapes:boxes": "boxed_shapes",
    "shapes:masks": "masked_shapes",
    "motion": "motion",
    "tfds:": "tfds",
    "catch": "environments",
    "gym:": "environments",
}
ENDINGS = {".pack": "packs", ".parquet": "manifest", ".csv": "manifest"}  # of what is a source by what it holds


@dataclass(frozen=True)
class Records:
    """What a named source has: raw splits, as many as it has itself, and the names of classes."""

    splits: dict[str, Split]
    labels: tuple[str, ...]
    source: str = "arrays"


def arrays(splits: Mapping[str, tuple[np.ndarray, np.ndarray] | np.ndarray], labels: Sequence[str] = (),
           input: str = "image", target: str = "class") -> Records:  # fmt: skip
    """Records that are in memory, for wherever data are asked for.

    splits: {"train": (inputs, targets), ...}; val and test are divided off train where they are missing. Inputs are
        pixels in [0, 255], uint8 (n, h, w, 1 or 3), and of clips (n, frames, h, w, 1 or 3), sentences, an array of
        UTF-8 bytes (n,), or waves in [-1, 1] of the network's rate, float32 (n, samples). Targets are places in
        `labels`, (n,) integers; masks of them, uint8 (n, h, w), in which 255 does not count; or for several labels a
        0 or 1 for each, uint8 or bool (n, classes). Images that are to be reconstructed have none: {"train": images}.
        Captions are an array of bytes (n,), of UTF-8 with a caption a line.
    labels: names of the classes.
    input: "image", or "tokens" for sentences, "words" for those whose words stand between spaces, "audio" for waves, or
        "clip".
    target: "class", "mask" for segmentation, "labels" for multilabel, "captions", or "tags" for tagging: places of a
        tag for each word, (n, words), and -1 behind a sentence.
    """
    from cnn_app.data.dataset import Split, in_memory

    def split(name: str, inputs, targets=None) -> Split:
        names = [f"{name}-{i:07d}" for i in range(len(inputs))]
        known = {} if targets is None else {target: in_memory(targets)}
        return Split(names, {input: in_memory(inputs)}, known)

    pairs = {name: given if isinstance(given, tuple) else (given,) for name, given in splits.items()}
    return Records({name: split(name, *pair) for name, pair in pairs.items()}, tuple(labels))


def told(data: Data | Records) -> Data:
    """What a card says of it."""
    return Data(source=data.source) if isinstance(data, Records) else data


def named(data: Data | Records) -> Records | None:
    """The records of one of SOURCES, such as `digits` or `tfds:NAME`; None for a folder."""
    if isinstance(data, Records):
        return data
    if not data.source:  # which as a path would be the folder that we are in
        raise DataError("no data at ''; give digits, shapes, tfds:NAME or a folder")
    return import_module(f"cnn_app.data.{_module(data.source)}").load(data) if is_named(data.source) else None


def is_named(source: str) -> bool:
    """Whether that names no folder but one of SOURCES."""
    return _module(source) is not None


def _module(source: str) -> str | None:
    kind, colon, _ = source.partition(":")
    return SOURCES.get(source) or SOURCES.get(kind + colon) or _by_ending(source)


def _by_ending(source: str) -> str | None:
    """A table may be of another kind, which its input or task knows."""
    name = next((name for ending, name in ENDINGS.items() if source.endswith(ending)), None)
    return name if name and import_module(f"cnn_app.data.{name}").is_one(source) else None
