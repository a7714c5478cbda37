"""Images with one box each: a table of them, or VOC's annotations; what they say is checked before any work."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np

from cnn_app.data.dataset import SPLITS, Dataset, Split, in_memory
from cnn_app.data.division import TABLE, Strata, Table, divided, table_of
from cnn_app.data.folder import inside, split_folders
from cnn_app.errors import DataError
from cnn_app.inputs import Input, files
from cnn_app.recipe import Data
from cnn_app.tasks.box_files import COLUMNS, Row, columns_of, voc

NAME, ANNOTATIONS = "boxes.csv", "annotations"
IMAGES = "images"  # where files may lie that a table or an annotation names without their folder
MAX_BYTES = 64 * 2**20  # of a table
SPARE = 1.0  # pixels that a box may reach over the border: some count from 1
CORNERS = slice(0, 4)


def load(data: Data, taken: Input, strata: Strata) -> Dataset:
    """A table, a folder with one, or with annotations/; or one of these in each of train/ val/ test/."""
    place = Path(data.source)
    found, root = _parts(place, data.encoding)
    table = table_of(root)
    if table:
        found = {"train": [*chain(*found.values())]}
    labels = sorted({row.label for row in found["train"]})
    for row in chain(*found.values()):
        if row.label not in labels:
            raise DataError(f"{row.where} has the label {row.label!r}, which train lacks; correct it, or add it to "
                            "train")  # fmt: skip
    splits = {name: _split(rows, labels, root, taken) for name, rows in found.items()}
    return complete(data, labels, splits, strata, table)


def complete(
    data: Data, labels: Sequence[str], splits: dict[str, Split], strata: Strata, table: Table | None = None
) -> Dataset:
    whole, how = divided(data.source, splits, data, strata, table)
    there = set(whole["train"].targets["class"].array.tolist())
    if missing := [label for place, label in enumerate(labels) if place not in there]:
        raise DataError(f"{data.source}: train has nothing of {', '.join(missing[:5])}; add some or remove the class")
    return Dataset(data.source, whole, tuple(labels), division=how)


def checked(source: str, name: str, split: Split) -> Split:
    """Records of others' making: boxes in pixels of images that are in memory, x1, y1, x2, y2."""
    images, found = split.inputs["image"].array, split.targets["box"].array
    if images is None or found is None or found.shape != (len(split), 4):
        raise DataError(f"{source}: boxes are (n, 4) numbers beside images in memory")
    high, wide = images.shape[1:3]
    rows = np.column_stack([found, np.full((len(found), 2), (wide, high))]).astype(np.float32)
    for i, row in enumerate(rows):
        if problem := problem_of(row[CORNERS].tolist(), wide, high):
            raise DataError(f"{source}: record {i} of {name} {problem}")
    return Split(split.names, split.inputs, split.targets | {"box": in_memory(rows)})


def problem_of(box: Sequence[float], wide: float, high: float) -> str:
    """What is wrong with a box in an image of these sides; empty if nothing is."""
    x1, y1, x2, y2 = box
    told = f"the box {', '.join(f'{value:g}' for value in box)}"
    if not all(map(math.isfinite, box)):
        return f"has {told}; four numbers are needed"
    if x2 < x1 or y2 < y1:
        return f"has {told}, which is inverted; x1 < x2 and y1 < y2 are needed"
    if x2 == x1 or y2 == y1:
        return f"has {told}, which is empty; x1 < x2 and y1 < y2 are needed"
    if min(x1, y1) < -SPARE or x2 > wide + SPARE or y2 > high + SPARE:
        return f"has {told}, which reaches out of its image of {wide:g}x{high:g} pixels"
    return ""


def _parts(place: Path, encoding: str) -> tuple[dict[str, list[Row]], Path]:
    """Split -> its boxes, and the folder that names start from."""
    if place.is_file():
        return _by_folder(place, list(_rows(place, encoding)), place.parent), place.parent
    if rows := _whole(place, encoding):
        return _by_folder(place, rows, place), place
    found = {}
    for split, folder in split_folders(place).items():
        if not (rows := _whole(folder, encoding)):
            raise DataError(f"{folder} has no boxes: neither a table {NAME} with the columns {', '.join(COLUMNS)} nor "
                            f"{ANNOTATIONS}/ with VOC's XML; see docs/localization.md")  # fmt: skip
        found[split] = rows
    return found, place


def _whole(folder: Path, encoding: str) -> list[Row]:
    """Of a folder's table, or its annotations; none where it has neither."""
    tables = [folder / NAME] if (folder / NAME).is_file() else [
        path for path in sorted(folder.glob("*.csv")) if path.name != TABLE and columns_of(path)
    ]  # fmt: skip
    if len(tables) > 1:
        raise DataError(f"{folder} has several tables of boxes: {', '.join(path.name for path in tables[:5])}; give "
                        f"the one that is meant as the data, or call it {NAME}")  # fmt: skip
    if tables:
        return list(_rows(tables[0], encoding))
    return _alone(voc(path, folder, IMAGES) for path in sorted((folder / ANNOTATIONS).glob("*.xml")))


def _alone(rows: Iterator[Row]) -> list[Row]:
    """Refuse a second box of an image."""
    before: dict[Path, str] = {}
    found = []
    for row in rows:
        if row.path in before:
            raise DataError(f"{row.where} has a second box of {row.path.name}, after {before[row.path]}; one for each "
                            "image is localized")  # fmt: skip
        before[row.path] = row.where
        found.append(row)
    return found


def _rows(file: Path, encoding: str) -> list[Row]:
    """Of a table, each line of it checked as far as it can be without its image."""
    columns = columns_of(file)
    lines = csv.reader(io.StringIO(files.text(file, encoding, MAX_BYTES), newline=""))
    try:
        header = next(lines, [])
        if not columns:
            raise DataError(f"{file}:1 has the columns {', '.join(header)[:200] or 'none'}; {', '.join(COLUMNS)} are "
                            "needed")  # fmt: skip
        found = _alone(_lines(file, lines, len(header), columns))
    except csv.Error as error:
        raise DataError(f"{file}:{lines.line_num} is no CSV: {error}") from error
    if not found:
        raise DataError(f"{file} has no boxes; add a line for each image")
    return found


def _lines(file: Path, lines, count: int, columns: dict[str, int]) -> Iterator[Row]:
    for cells in lines:
        where = f"{file}:{lines.line_num}"
        if len(cells) != count:
            raise DataError(f"{where} has {len(cells)} cells, the header {count}; one for each column is needed")
        told = {name: cells[place].strip() for name, place in columns.items()}
        yield Row.of(where, _found(where, file.parent, told["file"]), told)


def _found(where: str, folder: Path, name: str) -> Path:
    short = inside(where, name)
    path = next((path for path in (folder / short, folder / IMAGES / short) if path.is_file()), None)
    if path is None:
        raise DataError(f"{where}: there is no file {name} in {folder}; paths start at the table")
    return path


def _by_folder(place: Path, rows: list[Row], root: Path) -> dict[str, list[Row]]:
    """Boxes whose images lie under train/ val/ test/ by these; else all of them are train."""
    parts = [files.relative(row.path, root).partition("/")[0] for row in rows]
    if not set(parts) & set(SPLITS):
        return {"train": rows}
    found = {name: [row for row, part in zip(rows, parts, strict=True) if part == name] for name in SPLITS}
    stray = next((row for row, part in zip(rows, parts, strict=True) if part not in SPLITS), None)
    if stray is not None or not found["train"]:
        raise DataError(f"{stray.where if stray else place}: images lie in train/ val/ test/ or outside of all of "
                        "them, and some must be in train/")  # fmt: skip
    return {name: members for name, members in found.items() if members}


def _split(rows: list[Row], labels: Sequence[str], root: Path, taken: Input) -> Split:
    with ThreadPoolExecutor() as pool:
        found = np.array(list(pool.map(_placed, rows)), np.float32)
    names = [files.relative(row.path, root) for row in rows]
    targets = {"class": in_memory(np.array([labels.index(row.label) for row in rows], np.int64)),
               "box": in_memory(found)}  # fmt: skip
    return Split(names, taken.raw([str(row.path) for row in rows]), targets)


def _placed(row: Row) -> list[float]:
    """x1, y1, x2, y2 in the image as it is seen, and its width and height.

    A box may be drawn in the upright image, or in the image as it lies in its file; the size that is told decides.
    """
    from cnn_app.inputs.extent import extent_of, turned

    wide, high, orientation = extent_of(row.path) or (*(row.told or (math.inf, math.inf)), 1)
    box, seen = row.box, (wide, high)
    if row.told and row.told != (wide, high):
        if row.told != (high, wide) or orientation < 5:
            raise DataError(f"{row.where} says that {row.path.name} has {row.told[0]}x{row.told[1]} pixels, it has "
                            f"{wide}x{high}; boxes are of the image itself")  # fmt: skip
        seen = row.told
    if problem := problem_of(box, *seen):
        raise DataError(f"{row.where} {problem}")
    if seen != (wide, high):
        box = turned(box, seen, orientation)
    cut = [min(max(value, 0.0), side) for value, side in zip(box, (wide, high) * 2, strict=True)]
    return [*cut, *(side if math.isfinite(side) else limit for side, limit in zip((wide, high), cut[2:], strict=True))]
