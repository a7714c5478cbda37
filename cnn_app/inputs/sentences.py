"""Where sentences lie: a file for each class with one a line, or CSV; and what is none."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path

from cnn_app.data.division import TABLE
from cnn_app.errors import DataError
from cnn_app.inputs.files import relative, text

MAX_BYTES = 2**20  # of a sentence
MAX_FILE_BYTES = 2**30


def problem(data: bytes) -> str | None:
    """Why these bytes are no sentence."""
    if len(data) > MAX_BYTES:
        return f"it has more than {MAX_BYTES >> 20} MiB"
    try:
        return None if data.decode("utf-8").strip() else "it is empty"
    except UnicodeDecodeError as error:
        return f"it is not UTF-8 at byte {error.start}"


def lines(name: str, data: bytes) -> Iterator[tuple[str, bytes | DataError]]:
    data = data.removeprefix(codecs.BOM_UTF8).removesuffix(b"\n")
    for number, line in enumerate(data.split(b"\n"), start=1):
        if reason := problem(line):
            yield f"{name}:{number}", DataError(f"cannot read {name}:{number}: {reason}")
        else:
            yield line.decode(), line


def of_folder(folder: Path, root: Path, encoding: str) -> dict[str, tuple[list[str], list]]:
    """Label -> names and sentences of the file that is named by it."""
    found = {}
    files = (file for file in folder.iterdir() if file.is_file() and file != root / TABLE)
    for file in sorted(file for file in files if not file.name.startswith(".")):
        lines = text(file, encoding, MAX_FILE_BYTES).removesuffix("\n").split("\n")
        if not any(line.strip() for line in lines):
            raise DataError(f"{file} has no sentences; add one a line or remove it")
        names = [f"{relative(file, root)}:{number}" for number in range(1, len(lines) + 1)]
        found[file.name.removesuffix(".txt")] = (names, [line.encode() for line in lines])
    return found


def of_csv(file: Path, encoding: str) -> dict[str, tuple[list[str], list]]:
    """The same of a table with the columns text and label."""
    rows = csv.DictReader(io.StringIO(text(file, encoding, MAX_FILE_BYTES), newline=""))
    if not {"text", "label"} <= set(rows.fieldnames or ()):
        has = f"the columns {', '.join(rows.fieldnames)}" if rows.fieldnames else "no columns"
        raise DataError(f"{file} has {has}; text and label are needed")
    found: dict[str, tuple[list[str], list]] = {}
    try:
        for row in rows:
            if not row["label"]:
                raise DataError(f"{file}:{rows.line_num} has no label; add one or remove the line")
            names, records = found.setdefault(row["label"], ([], []))
            names.append(f"{file.name}:{rows.line_num}")
            records.append((row["text"] or "").encode())
    except csv.Error as error:
        raise DataError(f"{file}:{rows.line_num} is no CSV: {error}") from error
    return dict(sorted(found.items()))
