"""Images with captions: a table captions.txt beside images/, checked before any work."""

from __future__ import annotations

import csv
import io
from itertools import chain
from pathlib import Path

import numpy as np

from cnn_app.data.dataset import Split, in_memory
from cnn_app.data.division import Table, table_of
from cnn_app.data.folder import inside, split_folders
from cnn_app.errors import DataError
from cnn_app.inputs import Input, files

NAMES = ("captions.txt", "captions.csv")
COLUMNS = ("image", "caption")
IMAGES = "images"  # where files may lie that a table names without their folder
CAPTIONS = "captions"  # the target
MAX_BYTES = 64 * 2**20  # of a table
MOST, LONGEST = 100, 2000  # captions of an image, and characters of one


def load(root: Path, encoding: str, taken: Input) -> tuple[dict[str, Split], Table | None]:
    """Splits of a folder with a table, or with one in each of train/ val/ test/; the table that divides it, if any."""
    found = {name: _captions(folder, encoding) for name, folder in split_folders(root).items()}
    table = table_of(root)
    if table is not None:
        found = {"train": dict(chain(*(part.items() for part in found.values())))}
    return {name: _split(captions, root, taken) for name, captions in found.items()}, table


def problem_of(caption: str) -> str:
    """What is wrong with a caption, if anything."""
    if len(caption) > LONGEST:
        return f"has a caption of {len(caption):,} characters; at most {LONGEST:,} are read"
    if not any(letter.isalnum() for letter in caption):
        return f"has the caption {caption[:40]!r}, which has no word; remove the line"
    return ""


def _split(captions: dict[Path, list[str]], root: Path, taken: Input) -> Split:
    texts = np.array(["\n".join(several).encode() for several in captions.values()], object)
    names = [files.relative(path, root) for path in captions]
    return Split(names, taken.raw(list(map(str, captions))), {CAPTIONS: in_memory(texts)})


def _captions(folder: Path, encoding: str) -> dict[Path, list[str]]:
    """The captions of each image."""
    file = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    if file is None:
        raise DataError(f"{folder} has no {NAMES[0]}; a table with the columns {' and '.join(COLUMNS)} is needed, a "
                        f"line for each caption, beside {IMAGES}/")  # fmt: skip
    lines = csv.reader(io.StringIO(files.text(file, encoding, MAX_BYTES), newline=""))
    found: dict[Path, list[str]] = {}
    try:
        header = [name.strip() for name in next(lines, [])]
        if any(header.count(name) != 1 for name in COLUMNS):
            raise DataError(f"{file}:1 has the columns {', '.join(header)[:200] or 'none'}; {' and '.join(COLUMNS)} "
                            "are needed")  # fmt: skip
        places = [header.index(name) for name in COLUMNS]
        known: dict[str, Path] = {}
        for cells in filter(None, lines):
            where = f"{file}:{lines.line_num}"
            if len(cells) != len(header):
                raise DataError(f"{where} has {len(cells)} cells, the header {len(header)}; a caption with commas "
                                "stands in quotes")  # fmt: skip
            name, caption = (cells[place].strip() for place in places)
            if name not in known:
                known[name] = _place(where, folder, name)
            if problem := problem_of(caption):
                raise DataError(f"{where} {problem}")
            several = found.setdefault(known[name], [])
            several.append(" ".join(caption.split()))
            if len(several) > MOST:
                raise DataError(f"{where} has one more than {MOST} captions of {name}; remove some")
    except csv.Error as error:
        raise DataError(f"{file}:{lines.line_num} is no CSV: {error}") from error
    if not found:
        raise DataError(f"{file} has no captions; add a line for each")
    return found


def _place(where: str, folder: Path, name: str) -> Path:
    short = inside(where, name)
    found = next((path for path in (folder / IMAGES / short, folder / short) if path.is_file()), None)
    if found is None:
        raise DataError(f"{where} names the image {name}, which is neither in {folder / IMAGES} nor beside the table; "
                        "add it, or remove its lines")  # fmt: skip
    return found
