"""Packs: records as a network takes them, decoded once, in files that are mapped into memory and read as they lie.

NAME.pack/ holds pack.json, which is written last; for each split SPLIT.names.json; and for each part of SHARD_BYTES
`SPLIT.PART.COLUMN.bin`, the column's values one after the other, and nothing else. Columns that were in memory are
read whole, such as classes; the others stay in their files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn_app.artifacts import sha256
from cnn_app.data import Records
from cnn_app.data.dataset import SPLITS, Column, Split, in_memory
from cnn_app.errors import DataError
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    from cnn_app.recipe import Data

ENDING, ABOUT, VERSION = ".pack", "pack.json", 1
MAX_ABOUT_BYTES = 256 * 2**20
SHARD_BYTES = 2**28
OPEN = 128  # files that are mapped at a time
KINDS = "biufS"  # of values: no objects, which would be pointers


@dataclass(frozen=True)
class Kind:
    """Of a column's values, for each record. `mapped`: they stay in their files."""

    part: str  # of a Split
    dtype: np.dtype
    shape: tuple[int, ...]
    mapped: bool

    @property
    def record_bytes(self) -> int:
        return self.dtype.itemsize * prod(self.shape)

    def facts(self) -> dict:
        return {"part": self.part, "dtype": self.dtype.str, "shape": list(self.shape), "mapped": self.mapped}


@dataclass(frozen=True)
class Pack:
    """What pack.json says."""

    place: Path
    task: str
    input: dict  # facts of the input that records were brought to
    labels: tuple[str, ...]
    division: dict
    columns: dict[str, Kind]
    parts: dict[str, list[int]]  # split -> records of each part
    digests: dict[str, str]  # file -> SHA-256

    def file(self, split: str, part: int, column: str) -> Path:
        return self.place / file_name(split, part, column)


def file_name(split: str, part: int, column: str) -> str:
    return f"{split}.{part:05d}.{column}.bin"


def names_file(split: str) -> str:
    return f"{split}.names.json"


def is_one(source: str) -> bool:
    return source.endswith(ENDING)


def load(data: Data) -> Records:
    """The splits of a pack; what is cut off is told here, by the sizes of files."""
    pack = opened(data.source)
    for split, counts in pack.parts.items():
        for column, kind in pack.columns.items():
            for part, count in enumerate(counts):
                _check_size(pack.file(split, part, column), count * kind.record_bytes)
    return Records({split: _split(pack, split) for split in SPLITS if split in pack.parts}, pack.labels, data.source)


def opened(source: str) -> Pack:
    """Raises DataError for what is no pack, is unfinished, or of another version."""
    place = Path(source)
    if not place.is_dir():
        raise DataError(f"no pack at {source!r}; `cnn-app data pack` writes one")
    values = _json(place / ABOUT)
    if (version := values.get("version") if isinstance(values, dict) else None) != VERSION:
        raise DataError(
            f"{place} is a pack of version {str(version)[:20]}, this cnn-app reads {VERSION}; pack it again"
        )
    try:
        columns = {name: _kind(**facts) for name, facts in values["columns"].items()}
        parts = {split: list(map(_count, counts)) for split, counts in values["parts"].items()}
        digests = {Path(name).name: str(digest) for name, digest in values["digests"].items()}
        if not set(parts) <= set(SPLITS) or not all(name.isidentifier() for name in columns):
            raise ValueError(f"splits {', '.join(parts)}, columns {', '.join(columns)}")
        return Pack(place, str(values["task"]), dict(values["input"]), tuple(map(str, values["labels"])),
                    dict(values["division"]), columns, parts, digests)  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{place / ABOUT} is damaged: {str(error)[:200]}; pack it again") from error


def fitting(source: str, taken: Mapping) -> None:
    """Raise DataError where pixels of a pack are none that an input of these facts would see.

    What was stretched may be stretched again; what was cropped or padded is for that size alone.
    """
    if not is_one(source):
        return
    packed = opened(source).input
    if packed != taken and ("resize" in packed or packed | {"image": None} != dict(taken) | {"image": None}):
        raise DataError(f"{source} was packed for {_told(packed)}, the network takes {_told(taken)}; pack it again for "
                        "this one, by the size and columns of its network")  # fmt: skip


def damaged(source: str, progress: Callable[[str, int, int], Any]) -> dict[str, str]:
    """File -> what is wrong, of those that are not as they were written."""
    pack, found = opened(source), {}
    for done, (name, digest) in enumerate(pack.digests.items(), start=1):
        try:
            if sha256(pack.place / name) != digest:
                found[str(pack.place / name)] = "it is not as it was packed; pack it again"
        except OSError as error:
            found[str(pack.place / name)] = str(error.strerror)
        progress("reading", done, len(pack.digests))
    return found


def _split(pack: Pack, split: str) -> Split:
    counts = pack.parts[split]
    names = _json(pack.place / names_file(split))
    if not isinstance(names, list) or len(names) != sum(counts) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{pack.place / names_file(split)} does not name its {sum(counts)} records; pack it again")
    made: dict[str, dict[str, Column]] = {"inputs": {}, "targets": {}}
    for name, kind in pack.columns.items():
        made[kind.part][name] = (_mapped if kind.mapped else _whole)(pack, split, name, kind)
    return Split(names, **made)


def _whole(pack: Pack, split: str, name: str, kind: Kind) -> Column:
    parts = [np.fromfile(pack.file(split, part, name), kind.dtype).reshape(count, *kind.shape)
             for part, count in enumerate(pack.parts[split])]  # fmt: skip
    return in_memory(np.concatenate(parts) if parts else np.empty((0, *kind.shape), kind.dtype))


def _mapped(pack: Pack, split: str, name: str, kind: Kind) -> Column:
    import tensorflow as tf

    counts = pack.parts[split]
    ends = np.cumsum(counts)

    @lru_cache(OPEN)  # each holds a descriptor
    def part(number: int) -> np.ndarray:
        return np.memmap(pack.file(split, number, name), kind.dtype, "r", shape=(counts[number], *kind.shape))

    def record(place: np.ndarray) -> np.ndarray:
        number = int(np.searchsorted(ends, place, "right"))
        return np.array(part(number)[place - ends[number]])

    def read(place):
        return tf.ensure_shape(tf.numpy_function(record, [place], kind.dtype, stateful=False), kind.shape)

    return Column(read, spec=Spec(kind.dtype.name, kind.shape))


def _check_size(file: Path, wanted: int) -> None:
    try:
        found = file.stat().st_size
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}; copy the pack again") from error
    if found != wanted:
        raise DataError(f"{file} has {found:,} bytes of {wanted:,}; copy the pack again, or pack it again")


def _kind(part: str, dtype: str, shape: list, mapped: bool) -> Kind:
    found = np.dtype(str(dtype))
    if found.kind not in KINDS or not found.itemsize or part not in ("inputs", "targets"):
        raise ValueError(f"{part} of {dtype}")
    return Kind(part, found, tuple(map(_count, shape)), bool(mapped))


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**40:
        raise ValueError(f"{value!r} is no count")
    return value


def _json(file: Path):
    try:
        if file.stat().st_size > MAX_ABOUT_BYTES:
            raise DataError(f"{file} is larger than {MAX_ABOUT_BYTES >> 20} MiB; that is no pack")
        return json.loads(file.read_bytes())
    except OSError as error:
        raise DataError(
            f"cannot read {file}: {error.strerror}; an unfinished pack goes on with the same command"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is damaged: {str(error)[:200]}; pack it again") from error


def _told(facts: Mapping) -> str:
    size = "x".join(map(str, facts.get("image", ()))) or facts.get("kind", "image")
    share = f" of {facts['crop_share']}" if "crop_share" in facts else ""
    return f"{size} by {facts.get('resize', 'stretch')}{share}"
