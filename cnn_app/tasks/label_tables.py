"""labels.csv: a line for each image, with its labels in one cell or in a column for each class."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cnn_app.data.dataset import SPLITS
from cnn_app.data.folder import inside, split_folders
from cnn_app.errors import DataError
from cnn_app.inputs import files

NAME = "labels.csv"
FILE, LABELS = "file", "labels"  # columns
BETWEEN = "|"  # labels in a cell
MAX_CLASSES = 10_000
MAX_HEADER_BYTES = 2**20  # that are looked at
MAX_CELLS = 2**30  # of the matrix of records and classes, a byte each


@dataclass(frozen=True)
class Row:
    """A line of a table."""

    where: str  # the table and the line, for messages
    file: str  # relative to the table's folder
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """The lines that are for one split; `classes` are all that a header names, in its order, or none."""

    folder: Path
    rows: list[Row]
    classes: tuple[str, ...] = ()

    @property
    def paths(self) -> list[Path]:
        return [self.folder / row.file for row in self.rows]


def there(place: Path) -> bool:
    """Whether images are listed there: a header with the column of files tells the table from others of its name."""
    found = [place, *(folder / NAME for folder in (place, *(place / split for split in SPLITS)))]
    first = next(filter(Path.is_file, found), None)
    if first is None:
        return False
    with first.open("rb") as stream:
        header = stream.readline(MAX_HEADER_BYTES).decode("utf-8-sig", "replace")
    return FILE in (cell.strip() for cell in next(csv.reader([header]), []))


def tables(place: Path, encoding: str) -> dict[str, Table]:
    """Split -> its table: `place` is one, or holds one, or has one in each of train/ val/ test/.

    Raises DataError with the line of what is wrong.
    """
    file = place if place.is_file() else place / NAME
    if file.is_file():
        return _by_folder(file, read(file, encoding))
    found = {}
    for split, folder in split_folders(place).items():
        if not (folder / NAME).is_file():
            raise DataError(f"{folder} has no {NAME}; it has the columns {FILE} and {LABELS}, see docs/data.md")
        found[split] = read(folder / NAME, encoding)
    return found


def classes(found: dict[str, Table]) -> tuple[str, ...]:
    """Of the training table; raises DataError for a label elsewhere that it lacks."""
    train = found["train"]
    labels = train.classes or tuple(sorted({label for row in train.rows for label in row.labels}))
    if len(labels) > MAX_CLASSES:
        raise DataError(f"{train.folder} has {len(labels):,} labels; {MAX_CLASSES:,} are the most")
    known = set(labels)
    for table in found.values():
        if strange := [label for label in table.classes if label not in known]:
            raise DataError(f"{table.folder / NAME}:1 has the label {strange[0]!r}, which train lacks")
        for row in table.rows:
            if unknown := [label for label in row.labels if label not in known]:
                raise DataError(f"{row.where} has the label {unknown[0]!r}, which train lacks; correct it, or add it "
                                "to train")  # fmt: skip
    return labels


def merged(root: Path, parts: Iterable[Table]) -> Table:
    """Several tables as one, whose files are named from `root`."""
    parts = list(parts)
    rows = [replace(row, file=files.relative(part.folder / row.file, root)) for part in parts for row in part.rows]
    known = dict.fromkeys(label for part in parts for label in part.classes)
    return Table(root, rows, tuple(known) if all(part.classes for part in parts) else ())


def matrix(rows: Sequence[Row], labels: Sequence[str]) -> np.ndarray:
    """(n, classes) of 0 and 1, uint8."""
    if len(rows) * len(labels) > MAX_CELLS:
        raise DataError(f"{len(rows):,} records with {len(labels):,} labels are more than fit in {MAX_CELLS >> 30} GiB")
    places, found = {label: i for i, label in enumerate(labels)}, np.zeros((len(rows), len(labels)), np.uint8)
    for line, row in zip(found, rows, strict=True):
        line[[places[label] for label in row.labels]] = 1
    return found


def read(file: Path, encoding: str) -> Table:
    """One table, each line of it checked."""
    lines = csv.reader(io.StringIO(files.text(file, encoding), newline=""))
    try:
        header = [cell.strip() for cell in next(lines, [])]
        known = _columns(file, header)
        rows = list(_rows(file, lines, header, known))
    except csv.Error as error:
        raise DataError(f"{file}:{lines.line_num} is no CSV: {error}") from error
    if not rows:
        raise DataError(f"{file} has no images; add a line for each")
    return Table(file.parent, rows, known)


def _columns(file: Path, header: list[str]) -> tuple[str, ...]:
    """The classes that have columns; none where the labels stand in one cell."""
    others = tuple(name for name in header if name != FILE)
    if FILE not in header or not others:
        has = f"the columns {', '.join(header)[:200]}" if any(header) else "no columns"
        raise DataError(f"{file}:1 has {has}; {FILE} and {LABELS} are needed, or {FILE} and one for each class")
    if len(set(header)) < len(header):
        twice = next(name for place, name in enumerate(header) if name in header[:place])
        raise DataError(f"{file}:1 has the column {twice!r} twice")
    if LABELS in header:
        return ()
    for name in others:
        _check_label(f"{file}:1", name)
    return others


def _rows(file: Path, lines, header: list[str], known: tuple[str, ...]) -> Iterator[Row]:
    before: dict[str, int] = {}
    for cells in lines:
        number = lines.line_num
        where = f"{file}:{number}"
        if not any(cell.strip() for cell in cells):
            raise DataError(f"{where} is empty; remove the line")
        if len(cells) != len(header):
            raise DataError(f"{where} has {len(cells)} cells, the header {len(header)}; one for each column is needed")
        row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        name = inside(where, row[FILE])
        if name in before:
            raise DataError(f"{where} has the file {row[FILE]} of line {before[name]} again; remove one")
        before[name] = number
        if not (file.parent / name).is_file():
            raise DataError(f"{where}: there is no file {row[FILE]} in {file.parent}; paths start at the table")
        yield Row(where, name, _present(where, row, known) if known else _split(where, row[LABELS]))


def _split(where: str, cell: str) -> tuple[str, ...]:
    labels = tuple(label.strip() for label in cell.split(BETWEEN)) if cell else ()
    for label in labels:
        _check_label(where, label)
    return labels


def _present(where: str, row: dict[str, str], known: tuple[str, ...]) -> tuple[str, ...]:
    for name in known:
        if row[name] not in ("0", "1"):
            raise DataError(f"{where} has {row[name][:40]!r} for {name}; 0 or 1 is needed")
    return tuple(name for name in known if row[name] == "1")


def _check_label(where: str, label: str) -> None:
    if not label or not label.isprintable():
        wrong = f"the label {label[:40]!r}, which cannot be printed" if label else "an empty label"
        raise DataError(f"{where} has {wrong}; labels stand between {BETWEEN!r}, such as cat{BETWEEN}dog")


def _by_folder(file: Path, table: Table) -> dict[str, Table]:
    """A table whose files lie under train/ val/ test/ by these; else all of it is train."""
    split = [row.file.partition("/")[0] for row in table.rows]
    there = [name for name in SPLITS if name in split]
    if not there:
        return {"train": table}
    stray = next((row for row, name in zip(table.rows, split, strict=True) if name not in SPLITS), None)
    if stray is not None:
        raise DataError(f"{stray.where}: {stray.file} lies outside of {'/ '.join(there)}/, where others are; move it")
    if "train" not in there:
        raise DataError(f"{file} has files in {', '.join(there)} but none in train/; add some")
    return {name: Table(table.folder, [row for row, part in zip(table.rows, split, strict=True) if part == name],
                        table.classes) for name in there}  # fmt: skip
