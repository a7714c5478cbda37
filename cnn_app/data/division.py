"""How records come into train, val and test: by folders of theirs, by a table, or by a rule.

The rule is `class`: the records of each class stand in the order of a digest of the seed and their name, and the shares
are cut from that order: test first, then val, then train. From the third record of a class on, one record more moves
at most one old record of its class over each of the two borders, and none of another class. `name` is the rule of
0.1.0, by a digest of the last part of the name alone; cards that name no rule are of it.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from cnn_app.atomic import write_csv
from cnn_app.data import packs
from cnn_app.data.dataset import SPLITS, Split
from cnn_app.errors import DataError
from cnn_app.recipe import Data
from cnn_app.shares import BY_NAME, SHARES, shares_of

TABLE = "splits.csv"  # in a folder of data, and in a model directory
MAX_TABLE_BYTES = 256 * 2**20
COLUMNS = ["file", "split"]
VAL_SHARE, TEST_SHARE = 0.15, 0.15  # of 0.1.0

Strata = Callable[[Split], np.ndarray]  # (n,), the class of each record


def divided(
    source: str, splits: Mapping[str, Split], data: Data, strata: Strata | None = None, table: Table | None = None
) -> tuple[dict[str, Split], dict]:
    """All three splits, and what made them: {"rule": "own", "file", "class" or "name", ...}. A pack is divided already.

    A missing val is divided off train; for a missing test val stands in, which "test": "val" says then.
    strata: the classes that the shares hold in; without them the whole is one.
    table: says where each record of train, the only split then, belongs.
    """
    splits, how = dict(splits), packs.opened(source).division if packs.is_one(source) else {"rule": "own"}
    if table is not None:
        splits, how = table.divide(splits["train"]), {"rule": "file"}
    elif "val" not in splits:
        names = ("train", "val") if "test" in splits else SPLITS
        parts, how = _by_rule(splits["train"], names, data, strata)
        splits |= parts
    if "test" not in splits:
        splits["test"] = splits["val"]
        how["test"] = "val"
    for name in SPLITS:
        if len(splits[name]) == 0:
            raise DataError(f"{source}: nothing falls into {name}; add more, or make train/ and val/ folders yourself")
    return {name: splits[name] for name in SPLITS}, how


def as_given(how: Mapping) -> dict[str, Any]:
    """What a card says of a rule, as fields of `recipe.Data`; nothing for splits that need none."""
    match how:
        case {"rule": "own" | "file"}:
            return {}
        case {"rule": "name"}:
            return {"split": BY_NAME}
        case {"rule": "class", "shares": [int() | float(), *_] as shares, "seed": int(seed)}:
            return {"split": "/".join(map(str, shares)), "split_seed": seed}
    raise DataError(f"a model's data were divided by {str(how)[:80]}, which this version does not know; update "
                    "cnn-app, or say how to divide")  # fmt: skip


def _by_rule(split: Split, names: Sequence[str], data: Data, strata: Strata | None) -> tuple[dict[str, Split], dict]:
    if data.split == BY_NAME:
        return by_name(split, names), {"rule": "name"}
    shares = shares_of(data.split or SHARES)
    classes = np.zeros(len(split), int) if strata is None else strata(split)
    wanted = {name: share for name, share in zip(SPLITS, shares, strict=True) if name in names}
    told = [int(share) if share.denominator == 1 else float(share) for share in shares]
    return by_class(split, wanted, data.split_seed, classes), {"rule": "class", "shares": told, "seed": data.split_seed}


def by_class(split: Split, shares: Mapping[str, Fraction], seed: int, classes: np.ndarray) -> dict[str, Split]:
    """Divide `split` class by class, `classes` (n,), in these shares of train and others."""
    names = list(shares)[::-1]  # test comes first and train last, so that old ones move over as few borders as may be
    order = np.lexsort((np.array([_digest(f"{seed}/{name}") for name in split.names], np.uint64), classes))
    where = np.empty(len(split), int)
    starts = np.unique(classes[order], return_index=True)[1]
    for members in np.split(order, starts[1:]):
        where[members] = np.repeat(np.arange(len(names)), counts(len(members), [shares[name] for name in names]))
    return {name: split.take(np.flatnonzero(where == names.index(name))) for name in shares}


def counts(n: int, shares: Sequence[Fraction]) -> list[int]:
    """How many of n records fall to each share: rounded, at least one to each where there are enough, else the last
    has one."""
    stops, parts = [0], len(shares)
    for place in range(1, parts):
        stop = int(n * sum(shares[:place]) / sum(shares) + Fraction(1, 2))
        low, high = (stops[-1] + 1, n - parts + place) if n >= parts else (stops[-1], n - 1)
        stops.append(min(max(stop, low), high))
    return np.diff([*stops, n]).tolist()


def split_of(name: str) -> str:
    """Which split a record fell into by the last part of its name, in 0.1.0."""
    share = _digest(name) / 2**64
    return "test" if share < TEST_SHARE else "val" if share < TEST_SHARE + VAL_SHARE else "train"


def by_name(split: Split, among: Sequence[str] = SPLITS) -> dict[str, Split]:
    """Divide `split` as 0.1.0 did; the shares of splits that are not wanted go to train."""
    where = np.array([split_of(name.rsplit("/", 1)[-1]) for name in split.names], "<U5")  # as long as "train"
    where[~np.isin(where, among)] = "train"
    return {name: split.take(np.flatnonzero(where == name)) for name in among}


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


@dataclass(frozen=True)
class Table:
    """splits.csv: record -> (its split, the line that says so)."""

    file: Path
    lines: Mapping[str, tuple[str, int]]

    def divide(self, split: Split) -> dict[str, Split]:
        """The splits that it names; raises DataError where it and `split` are not of the same records."""
        known = set(split.names)
        for name, (_, line) in self.lines.items():
            if name not in known:
                raise DataError(f"{self.file}:{line} names {name!r}, which is no record here; remove the line")
        if lacking := [name for name in split.names if name not in self.lines]:
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            raise DataError(f"{self.file} does not list {lacking[0]}{more}; add a line for each record")
        where = np.array([self.lines[name][0] for name in split.names])
        found = {name: split.take(np.flatnonzero(where == name)) for name in SPLITS if (where == name).any()}
        for name in ("train", "val"):
            if name not in found:
                raise DataError(f"{self.file} puts no record into {name}; training needs train and val")
        return found


def table_of(root: Path) -> Table | None:
    """The splits.csv in the folder of data `root`, where there is one."""
    file = root / TABLE
    if not file.is_file():
        return None
    try:
        if file.stat().st_size > MAX_TABLE_BYTES:
            raise DataError(f"{file} is larger than {MAX_TABLE_BYTES >> 20} MiB; that is no table of splits")
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8; save it as that") from error
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return Table(file, _lines(file, rows))
    except csv.Error as error:
        raise DataError(f"{file}:{rows.line_num} is no CSV: {error}") from error


def _lines(file: Path, rows) -> dict[str, tuple[str, int]]:
    found: dict[str, tuple[str, int]] = {}
    if (head := next(rows, [])) != COLUMNS:
        raise DataError(f"{file}:1 is {','.join(head)[:80]!r}; the first line is {','.join(COLUMNS)}")
    for row in rows:
        line = rows.line_num
        if not any(row):
            raise DataError(f"{file}:{line} is empty; remove it")
        if len(row) != len(COLUMNS):
            raise DataError(f"{file}:{line} has {len(row)} columns; a line is a file and its split")
        name, split = row
        if split not in SPLITS:
            raise DataError(f"{file}:{line} has the split {split[:80]!r}; one of {', '.join(SPLITS)} is needed")
        if name in found:
            raise DataError(f"{file}:{line} lists {name!r}, which line {found[name][1]} has; remove one of them")
        found[name] = split, line
    return found


def write_table(path: Path, splits: Iterable[tuple[str, Split]]) -> None:
    """The table that divides the same records in the same way, by name."""
    rows = [{"file": record, "split": name} for name, split in splits for record in split.names]
    write_csv(path, sorted(rows, key=lambda row: row["file"]))
