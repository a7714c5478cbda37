"""Tables of images that lie elsewhere: a path and a label a line, as CSV or Parquet; `split` may say where it belongs.

Paths start at the folder of the table, or at --data-dir, and stay inside of it. Records are in the order of the table.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnn_app.data import Records
from cnn_app.data.dataset import SPLITS, Split, in_memory
from cnn_app.data.folder import inside
from cnn_app.errors import DataError, first_line

if TYPE_CHECKING:
    from cnn_app.recipe import Data

PARQUET = ".parquet"
PATH, LABEL, SPLIT = "path", "label", "split"  # columns
MAX_BYTES = 2**30  # of a table
MAX_ROWS = 100_000_000
MAX_HEADER_BYTES = 2**20  # that are looked at
BATCH = 2**14  # rows of Parquet that are unpacked at a time

Row = tuple[str, str, str, str | None]  # where it stands, path, label, split


def is_one(source: str) -> bool:
    """Any Parquet; of CSV what has these columns, as sentences and several labels have others."""
    if source.endswith(PARQUET):
        return True
    try:
        with open(source, "rb") as stream:
            header = stream.readline(MAX_HEADER_BYTES).decode("utf-8-sig", "replace")
    except OSError:
        return False
    return {PATH, LABEL} <= {cell.strip() for cell in next(csv.reader([header]), [])}


def load(data: Data) -> Records:
    """Encoded images by the places that the table gives, and its splits if it has some."""
    from cnn_app.inputs import image_files

    file = Path(data.source)
    root = Path(data.directory or file.parent)
    rows = list(_rows(file, data.encoding))
    if not rows:
        raise DataError(f"{file} lists no images; give a line for each")
    labels = tuple(sorted({label for _, _, label, _ in rows}))
    places = {label: place for place, label in enumerate(labels)}
    found: dict[str, tuple[list[str], list[int]]] = {}
    before: dict[str, str] = {}
    for where, path, label, split in rows:
        name = _name(where, path, root)
        if name in before:
            raise DataError(f"{where} has the path {name} of {before[name]} again; remove one")
        before[name] = where
        members, classes = found.setdefault(split or "train", ([], []))
        members.append(name)
        classes.append(places[label])
    if "train" not in found:
        raise DataError(f"{file} has {', '.join(found)} but nothing of train; add some")
    splits = {
        split: Split(
            members,
            {"image": image_files.column([str(root / name) for name in members])},
            {"class": in_memory(np.array(classes, np.int64))},
        )
        for split, (members, classes) in ((split, found[split]) for split in SPLITS if split in found)
    }
    return Records(splits, labels, data.source)


def paths(source: str, directory: str | None = None, encoding: str = "utf-8") -> Iterator[tuple[str, Path]]:
    """The name and the place of each image of a table, whatever its other columns; the name is the path there."""
    file = Path(source)
    root = Path(directory or file.parent)
    for where, path, *_ in _rows(file, encoding, needed=(PATH,)):
        name = _name(where, path, root)
        yield name, root / name


def _name(where: str, path: str, root: Path) -> str:
    """Where an image lies in the folder `root`, with slashes."""
    path = os.path.relpath(path, root) if os.path.isabs(path) else path
    return inside(where, path.replace(os.sep, "/"))


def _rows(file: Path, encoding: str, needed: tuple[str, ...] = (PATH, LABEL)) -> Iterator[Row]:
    told = _of_parquet(file, needed) if file.suffix == PARQUET else _of_csv(file, encoding, needed)
    for where, row in told:
        path, label, split = row[PATH], row.get(LABEL, ""), row.get(SPLIT)
        if LABEL in needed and (not label or not label.isprintable()):
            raise DataError(f"{where} has the label {label[:40]!r}; one that can be printed is needed")
        if split is not None and split not in SPLITS:
            raise DataError(f"{where} has the split {split[:80]!r}; one of {', '.join(SPLITS)} is needed")
        yield where, path, label, split


def _of_csv(file: Path, encoding: str, needed: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    from cnn_app.inputs import files

    lines = csv.reader(io.StringIO(files.text(file, encoding, MAX_BYTES), newline=""), strict=True)
    try:
        header = [cell.strip() for cell in next(lines, [])]
        _check_columns(f"{file}:1", header, needed)
        for cells in lines:
            where = f"{file}:{lines.line_num}"
            if len(cells) != len(header):
                raise DataError(
                    f"{where} has {len(cells)} cells, the header {len(header)}; one for each column is needed"
                )
            yield where, dict(zip(header, (cell.strip() for cell in cells), strict=True))
    except csv.Error as error:
        raise DataError(f"{file}:{lines.line_num} is no CSV: {error}") from error


def _of_parquet(file: Path, needed: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(f"{file} is Parquet, which needs: pip install 'cnn-app[parquet]'; or write it as CSV") from None
    try:
        if file.stat().st_size > MAX_BYTES:
            raise DataError(f"{file} is larger than {MAX_BYTES >> 20} MiB; divide it")
        with pyarrow.parquet.ParquetFile(file) as table:
            header = table.schema_arrow.names
            _check_columns(str(file), header, needed)
            if table.metadata.num_rows > MAX_ROWS:
                raise DataError(f"{file} has {table.metadata.num_rows:,} rows; {MAX_ROWS:,} are the most")
            wanted, number = [name for name in (PATH, LABEL, SPLIT) if name in header], 0
            for batch in table.iter_batches(BATCH, columns=wanted):
                for row in batch.to_pylist():
                    where, number = f"{file}, row {number},", number + 1
                    if lacking := next((name for name, value in row.items() if value is None), None):
                        raise DataError(f"{where} has no {lacking}; fill it, or leave the row out")
                    yield where, {name: str(value) for name, value in row.items()}
    except OSError as error:  # pyarrow's own are, too
        raise DataError(f"cannot read {file}: {error.strerror or first_line(error)}") from error
    except pyarrow.ArrowException as error:
        raise DataError(f"{file} is no Parquet, or damaged: {first_line(error)}") from error


def _check_columns(where: str, header: list[str], needed: tuple[str, ...]) -> None:
    if lacking := [name for name in needed if name not in header]:
        raise DataError(f"{where} has the columns {', '.join(header)[:200] or 'none'}; {' and '.join(lacking)} "
                        f"{'is' if len(lacking) == 1 else 'are'} needed, {SPLIT} may be there")  # fmt: skip
    if len(set(header)) < len(header):
        raise DataError(f"{where} has a column twice; remove one")
