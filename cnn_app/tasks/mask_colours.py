"""Masks whose colours are classes: the table that says which, and the values that they become.

colors.csv, colours.csv, class_dict.csv or label_colors.txt in the folder of the data has a line for each class: its
name and red, green and blue, in front of the name or behind it, between commas or spaces. A first line of words alone
is a head.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cnn_app.errors import DataError
from cnn_app.inputs.files import content

TABLES = ("colors.csv", "colours.csv", "class_dict.csv", "label_colors.txt")
HEAD = {"name", "class", "label", "r", "g", "b", "red", "green", "blue"}
MODES = ("L", "P", "1", "RGB", "RGBA")  # of Pillow
MOST = 254  # classes that bytes hold beside what does not count, and what may not be


@dataclass(frozen=True, eq=False)
class Colours:
    """The colours (classes, 3) of the values 0, 1, 2, ..., and their names."""

    file: Path
    names: tuple[str, ...]
    table: np.ndarray

    @cached_property
    def values(self) -> np.ndarray:
        """(2^24,): a colour as one number -> its value, MOST for one that is not in the table."""
        found = np.full(2**24, MOST, np.uint8)
        found[_numbers(self.table)] = np.arange(len(self.table))
        return found

    def of(self, image) -> np.ndarray:
        """A picture of Pillow -> values, uint8 (h, w)."""
        if image.mode not in MODES:
            raise ValueError(f"it is of mode {image.mode}; masks by colour are PNGs of 8 bits")
        if image.mode == "P":
            palette = np.zeros((256, 3), np.uint8)
            given = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
            palette[: len(given)] = given
            return self.values[_numbers(palette)][np.asarray(image)]
        return self.values[_numbers(np.asarray(image.convert("RGB")))]

    def stranger(self, image, values: np.ndarray) -> str:
        """The first colour that is not in the table, and where; empty if there is none."""
        places = np.argwhere(values == MOST)
        if not len(places):
            return ""
        y, x = places[0].tolist()
        found = ",".join(map(str, image.convert("RGB").getpixel((x, y))))
        return f"the colour {found} at x={x}, y={y}, which is not in {self.file.name}"


def of_folder(root: Path) -> Colours | None:
    """The table in a folder of data, where there is one."""
    files = [root / name for name in TABLES if (root / name).is_file()]
    if len(files) > 1:
        raise DataError(f"{root} has {' and '.join(file.name for file in files)}; keep one table of colours")
    return read(files[0]) if files else None


def read(file: Path) -> Colours:
    names: dict[str, int] = {}
    colours: dict[tuple[int, ...], int] = {}
    for line, row in enumerate(lines_of(file), start=1):
        if not row.strip() or row.lstrip().startswith("#"):
            continue
        parts = [part.strip() for part in next(csv.reader([row]))] if "," in row else row.split()
        if not names and {part.lower() for part in parts} <= HEAD:
            continue
        name, colour = _line(parts, f"{file}:{line}")
        for what, key, known in (("name", name, names), ("colour", colour, colours)):
            if (first := known.setdefault(key, line)) != line:
                raise DataError(f"{file}:{line} has the {what} of line {first} again; each class has its own")
    if not 0 < len(names) <= MOST:
        raise DataError(f"{file} has {len(names)} classes; masks of bytes hold {MOST} at most, and one at least")
    return Colours(file, tuple(names), np.array(list(colours), np.uint8))


def lines_of(file: Path) -> list[str]:
    """The lines of a text file that belongs to masks."""
    try:
        return content(file).decode("utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8; save it as that") from error


def _line(parts: list[str], where: str) -> tuple[str, tuple[int, ...]]:
    """Name and colour, whichever comes first."""
    for numbers, words in ((parts[-3:], parts[:-3]), (parts[:3], parts[3:])):
        if len(numbers) == 3 and all(part.isdecimal() for part in numbers) and (name := " ".join(words).strip()):
            colour = tuple(map(int, numbers))
            if max(colour) > 255:
                raise DataError(f"{where} has a colour of {max(colour)}; red, green and blue lie between 0 and 255")
            return name, colour
    raise DataError(f"{where} is {' '.join(parts)[:80]!r}; a line is a name and red, green and blue: sky,128,128,128")


def _numbers(colours: np.ndarray) -> np.ndarray:
    red, green, blue = (colours[..., place].astype(np.int32) for place in range(3))
    return red << 16 | green << 8 | blue
