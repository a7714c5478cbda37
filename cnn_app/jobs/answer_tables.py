"""Answers as a table: a row for each record, as CSV, JSON lines or Parquet by the end of the file's name."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from cnn_app.atomic import replacing
from cnn_app.errors import DataError

FORMATS = (".csv", ".jsonl", ".parquet")
ROWS = 2**14  # of Parquet that are held at a time
Answers = Callable[[], Iterable[dict]]  # as often as it is called


def check(path: Path) -> None:
    """Raise DataError where such a table cannot be written here."""
    if path.suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise DataError(f"{path} is Parquet, which needs: pip install 'cnn-app[parquet]'; or write .csv") from None


def write(path: Path, answers: Answers) -> None:
    """Answers are gone through twice, as what columns there are is known in the end alone; none of them are kept."""
    with replacing(path) as place:
        if path.suffix == ".parquet":
            _write_parquet(place, answers)
        elif path.suffix == ".jsonl":
            with place.open("w", encoding="utf-8") as stream:
                stream.writelines(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers())
        else:
            columns = dict.fromkeys(name for answer in answers() for name in flat(answer))
            with place.open("w", encoding="utf-8", newline="") as stream:
                writer = csv.DictWriter(stream, columns, lineterminator="\n")
                if columns:
                    writer.writeheader()
                writer.writerows(map(flat, answers()))


def flat(answer: dict) -> dict[str, Any]:
    """The best labels side by side, those that are there in one cell, entities in another."""
    row = {name: value for name, value in answer.items() if not isinstance(value, list | dict)}
    for value in answer.values():
        row |= value if isinstance(value, dict) else {}
    if "labels" in answer:
        row["labels"] = "|".join(answer["labels"])
    if "entities" in answer:
        row["entities"] = "|".join(f"{one['text']}: {one['label']}" for one in answer["entities"])
    for place, one in enumerate(answer.get("top", ()), start=1):
        row |= {f"{name}{place}": value for name, value in one.items()}
    return row


def _write_parquet(place: Path, answers: Answers) -> None:
    import pyarrow
    import pyarrow.parquet

    kinds: dict[str, Any] = {}
    for answer in answers():
        for name, value in flat(answer).items():
            kind = {bool: pyarrow.bool_(), int: pyarrow.int64(), float: pyarrow.float64()}.get(
                type(value), pyarrow.string()
            )
            kinds[name] = kind if kinds.get(name, kind) == kind else pyarrow.string()
    schema = pyarrow.schema(kinds.items())
    with pyarrow.parquet.ParquetWriter(place, schema) as writer:
        for rows in _chunks(map(flat, answers()), ROWS):
            texts = [name for name, kind in kinds.items() if kind == pyarrow.string()]
            rows = [row | {name: str(row[name]) for name in texts if row.get(name) is not None} for row in rows]
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))


def _chunks(things: Iterable, size: int) -> Iterator[list]:
    held = []
    for thing in things:
        held.append(thing)
        if len(held) == size:
            yield held
            held = []
    if held:
        yield held
