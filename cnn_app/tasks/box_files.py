"""Lines of tables of boxes, and VOC's XML, which is read without entities, as files from elsewhere must be."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from cnn_app.errors import DataError
from cnn_app.inputs import files

COLUMNS = ("file", "label", "x1", "y1", "x2", "y2")
OTHERS = {"filename": "file", "class": "label", "xmin": "x1", "ymin": "y1", "xmax": "x2", "ymax": "y2"}
SIZE = ("width", "height")  # of the image, which a table or an annotation may tell
MAX_HEADER_BYTES = 2**16
MAX_XML_BYTES = 2**20
VOC = {  # path of an element -> what it tells
    "annotation/filename": "file",
    "annotation/size/width": "width",
    "annotation/size/height": "height",
    "annotation/object/name": "label",
    **{f"annotation/object/bndbox/{name}": OTHERS[name] for name in ("xmin", "ymin", "xmax", "ymax")},
}


@dataclass(frozen=True)
class Row:
    """A box of one image."""

    where: str  # file and line, for messages
    path: Path
    label: str
    box: tuple[float, ...]  # x1, y1, x2, y2 in pixels
    told: tuple[int, int] | None  # width and height that are said to be the image's

    @classmethod
    def of(cls, where: str, path: Path, told: Mapping[str, str]) -> Row:
        label = told["label"]
        if not label or not label.isprintable():
            raise DataError(f"{where} has the label {label[:40]!r}; a printable one is needed")
        box = tuple(_number(where, name, told[name]) for name in COLUMNS[2:])
        size = [_number(where, name, told[name]) for name in SIZE if told.get(name)]
        if len(size) == 2 and (min(size) <= 0 or any(value % 1 for value in size)):
            raise DataError(f"{where} says that its image has {size[0]:g}x{size[1]:g} pixels; both are above 0")
        return cls(where, path, label, box, (int(size[0]), int(size[1])) if len(size) == 2 else None)


def _number(where: str, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where} has {text[:40]!r} for {name}; a number of pixels is needed")
    return value


def columns_of(file: Path) -> dict[str, int]:
    """Column -> its place in the header; nothing for a table that is none of boxes."""
    with file.open("rb") as stream:
        header = stream.readline(MAX_HEADER_BYTES).decode("utf-8-sig", "replace")
    try:
        names = [OTHERS.get(name.strip(), name.strip()) for name in next(csv.reader([header]), [])]
    except csv.Error:
        return {}
    if any(names.count(name) != 1 for name in COLUMNS):
        return {}
    return {name: names.index(name) for name in (*COLUMNS, *SIZE) if name in names}


def voc(file: Path, folder: Path, images: str) -> Row:
    """One annotation; its image lies in the folder or in `images` there."""
    told, lines = _read(file)
    objects = lines.pop("object", [])
    where = f"{file}:{objects[0] if objects else 1}"
    if len(objects) != 1:
        many = f"{len(objects)} boxes" if objects else "no box"
        raise DataError(f"{file}:{objects[1] if objects else 1} has {many}; one for each image is localized")
    if lacking := [name for name in COLUMNS if not told.get(name)]:
        raise DataError(f"{where} lacks {', '.join(lacking)} of its image or its object")
    if not all(told.get(name) for name in SIZE):
        raise DataError(f"{where} lacks the size of its image; <size> has <width> and <height>")
    name = told["file"].replace("\\", "/").rpartition("/")[2]
    path = next((place for place in (folder / images / name, folder / name) if place.is_file()), None)
    if path is None or not name.isprintable():
        raise DataError(f"{where}: there is no image {name[:200]!r} in {folder} or {images}/ there")
    return Row.of(where, path, told)


def _read(file: Path) -> tuple[dict[str, str], dict[str, list[int]]]:
    """What VOC names, and the lines that objects begin in."""
    data = files.content(file, MAX_XML_BYTES)
    parser, path, told, lines = expat.ParserCreate(), [], {}, {}

    def start(name, _):
        path.append(name)
        if path == ["annotation", "object"]:
            lines.setdefault("object", []).append(parser.CurrentLineNumber)

    def text(found):
        if name := VOC.get("/".join(path)):
            told[name] = told.get(name, "") + found

    def refuse(*_):
        raise DataError(f"{file}:{parser.CurrentLineNumber} declares a document type, which annotations have no need "
                        "of and which may hold entities; remove it")  # fmt: skip

    parser.StartElementHandler, parser.CharacterDataHandler = start, text
    parser.EndElementHandler = lambda _: path.pop()
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise DataError(f"{file}:{parser.CurrentLineNumber} is no XML: {error}") from error
    return {name: value.strip() for name, value in told.items()}, lines
