"""Masks: folders of them beside their images, and their values."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from cnn_app.data.dataset import Column, Dataset, Split
from cnn_app.data.division import Table, divided, table_of
from cnn_app.errors import DataError
from cnn_app.inputs import Input, headers
from cnn_app.inputs.files import relative
from cnn_app.recipe import Data
from cnn_app.tasks import mask_colours, mask_layouts
from cnn_app.tasks.mask_colours import Colours, lines_of
from cnn_app.tasks.mask_layouts import Layout

IGNORED, UNKNOWN = 255, 254  # places of pixels that do not count, and of values that may not be
BINARY = ("background", "foreground")  # the classes of masks that are black and white
VOID = ("void", "ignore", "unlabeled", "unlabelled")  # labels of what does not count
LABELS = "labels.txt"
MODES = ("L", "P", "1")  # of Pillow: grey, palette, one bit


def load(data: Data, ignore: int, taken: Input) -> Dataset:
    """A folder in one of the layouts, with labels.txt, a label a line, or a table of colours, where there is one."""
    root = Path(data.source)
    layout, table, colours = mask_layouts.found(root), table_of(root), mask_colours.of_folder(root)
    pairs = layout.pairs
    turns = {name: _turns(images, masks) for name, (images, masks) in pairs.items()}
    if table:
        images, masks = zip(*pairs.values(), strict=True)
        pairs, turns = {"train": ([*chain(*images)], [*chain(*masks)])}, {"train": [*chain(*turns.values())]}
    plain = [] if colours is not None else pairs["train"][1]
    values, labels = _classes(root, plain, ignore, _told(root, layout, colours))
    files = Files(root, values, colours)
    splits = {name: _split(files, *pair, turns[name], taken) for name, pair in pairs.items()}
    return complete(data, labels, splits, table)


def complete(data: Data, labels: Sequence[str], splits: dict[str, Split], table: Table | None = None) -> Dataset:
    """The whole is one class: a mask has many."""
    if len(labels) < 2:
        raise DataError(f"{data.source} has one class only ({', '.join(labels) or 'none'}); masks need two or more")
    whole, how = divided(data.source, splits, data, table=table)
    return Dataset(data.source, whole, tuple(labels), division=how)


def _turns(images: list[Path], masks: list[Path]) -> list[int]:
    """The EXIF orientation that each mask needs to lie as its image is seen: 1 for one that does.

    A mask may be drawn over the upright image, or over the image as it lies in its file; their sizes tell.
    """
    from cnn_app.inputs.orientation import TRANSPOSED, UPRIGHT, of_file

    def turn(pair) -> int:
        try:
            (width, height), mask = map(_size, pair)
            orientation = UPRIGHT if width == height else of_file(pair[0])  # a square fits its mask either way
        except (OSError, ValueError, SyntaxError, DataError):
            return UPRIGHT  # told when it is read
        upright = (height, width) if orientation in TRANSPOSED else (width, height)
        if mask not in (upright, (width, height)):
            raise DataError(f"{pair[1]} has {mask[0]}x{mask[1]} pixels, its image {pair[0].name} "
                            f"{upright[0]}x{upright[1]}; they must be equal")  # fmt: skip
        return UPRIGHT if mask == upright else orientation

    with ThreadPoolExecutor() as pool:
        return list(pool.map(turn, zip(images, masks, strict=True)))


def _size(path: Path) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(path) as found:
            return found.size
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from error


def _told(root: Path, layout: Layout, colours: Colours | None) -> list[str]:
    """The labels of the values 0, 1, 2, ...; none where nothing says them."""
    file = root / LABELS
    names = _names(file) if file.is_file() else []
    if colours is not None and names and tuple(names) != colours.names:
        raise DataError(f"{file} and {colours.file.name} name other classes; remove {LABELS}, or make them equal")
    return names or list(colours.names if colours is not None else layout.labels)


def _classes(root: Path, masks: list[Path], ignore: int, names: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """(256,): value -> place of its class, 254 for one that may not be, and the labels.

    masks: whose values may say what they are, where the names do not.
    """
    table = np.full(256, UNKNOWN, np.uint8)
    table[ignore] = IGNORED
    found = set()
    if masks and len(names) in (0, 2):  # they may be black and white
        with ThreadPoolExecutor() as pool:
            found = set().union(*pool.map(_values, masks))
        if found <= {0, 255}:
            table[[0, 255]] = 0, 1
            return table, tuple(names) or BINARY
    highest = max(found - {ignore}, default=0)
    if not names and highest >= UNKNOWN:
        raise DataError(f"{root}: the masks have values up to {highest}; {UNKNOWN} classes from 0 on are the most; "
                        "black and white ones have 0 and 255 alone")  # fmt: skip
    names = names or [str(value) for value in range(highest + 1)]
    counted = [value for value, name in enumerate(names) if value != ignore and name.lower() not in VOID]
    table[: len(names)] = IGNORED
    table[counted] = np.arange(len(counted))
    return table, tuple(names[value] for value in counted)


def _names(file: Path) -> list[str]:
    """A label a line; the first is that of value 0."""
    names = [line.strip() for line in lines_of(file)]
    if not 0 < len(names) <= UNKNOWN:
        raise DataError(f"{file} has {len(names)} labels; masks of bytes hold {UNKNOWN} at most, and one at least")
    for line, name in enumerate(names, start=1):
        if not name or (name in names[: line - 1] and name.lower() not in VOID):
            raise DataError(f"{file}:{line} {'stands there twice' if name else 'is empty'}; a line is a value's label")
    return names


def _values(path: Path) -> set[int]:
    try:
        return set(np.unique(read(path)).tolist())
    except (OSError, ValueError, SyntaxError):
        return set()  # told when it is read


def read(path: Path, colours: Colours | None = None) -> np.ndarray:
    """The values of a mask, uint8 (h, w): of a palette its places, not its colours, but by a table of colours."""
    with _opened(path) as found:
        if colours is not None:
            return colours.of(found)
        if found.mode not in MODES:
            raise ValueError(f"it is of mode {found.mode}; masks are PNGs of grey values or a palette, a value a "
                             f"class, or have a table of their colours, {mask_colours.TABLES[0]}")  # fmt: skip
        return np.asarray(found, np.uint8) * (255 if found.mode == "1" else 1)


def _opened(path: Path):
    from PIL import Image

    if problem := headers.file_problem(str(path)):
        raise ValueError(problem)
    return Image.open(path)


@dataclass(frozen=True)
class Files:
    """Masks in the folder `root`: values (256,) -> places of classes, and what makes values of colours."""

    root: Path
    table: np.ndarray
    colours: Colours | None

    def places(self, path: Path, turn: int) -> np.ndarray:
        from cnn_app.inputs.orientation import upright_array

        found = self.table[upright_array(read(path, self.colours), turn)]
        if (found == UNKNOWN).any():
            raise ValueError("a value is out of range")
        return found

    def fault(self, path: Path) -> str:
        """Why a mask cannot be used, if it is the mask."""
        name = relative(path, self.root)
        try:
            values = read(path, self.colours)
            if self.colours is not None:
                with _opened(path) as image:
                    stranger = self.colours.stranger(image, values)
                return f"its mask {name} has {stranger}; add it there, or mend the mask" if stranger else ""
        except (OSError, ValueError, SyntaxError) as error:
            return f"its mask {name} cannot be read: {error}"
        wrong = sorted(set(np.unique(values).tolist()) & set(np.flatnonzero(self.table == UNKNOWN).tolist()))
        known = int((self.table < UNKNOWN).sum())
        return f"its mask {name} has the value {wrong[0]}, there are {known} classes" if wrong else ""


def _split(files: Files, images: list[Path], masks: list[Path], turns: list[int], taken: Input) -> Split:
    import tensorflow as tf

    def decoded(i):
        mask = tf.numpy_function(lambda i: files.places(masks[int(i)], turns[int(i)]), [i], tf.uint8)
        return tf.ensure_shape(mask, (None, None))

    names = [relative(path, files.root) for path in images]
    column = Column(decoded, fault=lambda i: files.fault(masks[i]))
    return Split(names, taken.raw(list(map(str, images))), {"mask": column})
