"""How large an image in a file is as it is seen, by its header."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from cnn_app.errors import DataError
from cnn_app.inputs import conversion, files, headers
from cnn_app.inputs.orientation import COLUMNS_REVERSED, EXIF, ROWS_REVERSED, START, TRANSPOSED, UPRIGHT, WEBP, of_file

MARKS = (EXIF, b"eXIf", WEBP)  # without any of which a file does not tell how it lies
ONE_AT_A_TIME = Lock()


def extent_of(path: Path) -> tuple[int, int, int] | None:
    """Width and height when it is upright, and its orientation in the file; None where it cannot be read."""
    try:
        data = files.content(path)
        if conversion.kind_of(data[:12]):
            found = headers.read(conversion.as_png(data))
            return found.width, found.height, 1
        found = headers.read(data)
        with ONE_AT_A_TIME:  # in several threads at once TensorFlow makes a graph in each
            orientation = of_file(path) if any(mark in data[:START] for mark in MARKS) else UPRIGHT
    except DataError:
        return None  # told when it is read
    sides = (found.width, found.height)
    return (*(sides[::-1] if orientation in TRANSPOSED else sides), orientation)


def turned(box: Sequence[float], sides: tuple[int, int], orientation: int) -> list[float]:
    """x1, y1, x2, y2 in an image as it lies in its file, of width and height `sides` -> in the upright one."""
    x1, y1, x2, y2 = box
    wide, high = sides
    if orientation in TRANSPOSED:
        x1, y1, x2, y2, wide, high = y1, x1, y2, x2, high, wide
    if orientation in COLUMNS_REVERSED:
        x1, x2 = wide - x2, wide - x1
    if orientation in ROWS_REVERSED:
        y1, y2 = high - y2, high - y1
    return [x1, y1, x2, y2]
