"""Masks: folders of them beside their images, and their values."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np

from cnn_app.data.dataset import Column, Dataset, Split
from cnn_app.data.division import Table, divided, table_of
from cnn_app.data.folder import split_folders
from cnn_app.errors import DataError
from cnn_app.inputs import Input, headers
from cnn_app.inputs.files import relative
from cnn_app.inputs.image_files import image_files
from cnn_app.recipe import Data

IGNORED, UNKNOWN = 255, 254  # places of pixels that do not count, and of values that may not be
BINARY = ("background", "foreground")  # the classes of masks that are black and white
VOID = ("void", "ignore", "unlabeled", "unlabelled")  # labels of what does not count
LABELS = "labels.txt"
MODES = ("L", "P", "1")  # of Pillow: grey, palette, one bit


def load(data: Data, ignore: int, taken: Input) -> Dataset:
    """images/ and masks/ with files of equal stems, and labels.txt, if there is one, with a label a line."""
    root = Path(data.source)
    pairs, table = {name: _pairs(folder, root) for name, folder in split_folders(root).items()}, table_of(root)
    turns = {name: _turns(images, masks) for name, (images, masks) in pairs.items()}
    if table:
        images, masks = zip(*pairs.values(), strict=True)
        pairs, turns = {"train": ([*chain(*images)], [*chain(*masks)])}, {"train": [*chain(*turns.values())]}
    values, labels = _classes(root, pairs["train"][1], ignore)
    splits = {name: _split(root, *pair, turns[name], values, taken) for name, pair in pairs.items()}
    return complete(data, labels, splits, table)


def complete(data: Data, labels: Sequence[str], splits: dict[str, Split], table: Table | None = None) -> Dataset:
    """The whole is one class: a mask has many."""
    if len(labels) < 2:
        raise DataError(f"{data.source} has one class only ({', '.join(labels) or 'none'}); masks need two or more")
    whole, how = divided(data.source, splits, data, table=table)
    return Dataset(data.source, whole, tuple(labels), division=how)


def _pairs(folder: Path, root: Path) -> tuple[list[Path], list[Path]]:
    """Images and their masks, in the order of names."""
    parts = [folder / kind for kind in ("images", "masks")]
    for part in parts:
        if not part.is_dir():
            raise DataError(f"{folder} has no {part.name}/; segmentation needs images/ and masks/ with equal names")
    images, masks = (_by_stem(part) for part in parts)
    for one, other, what in ((images, masks, "mask"), (masks, images, "image")):
        if lonely := sorted(set(one) - set(other)):
            raise DataError(f"{relative(one[lonely[0]], root)} has no {what}; add it or remove the file")
    if not images:
        raise DataError(f"{folder}/images is empty; add images, and masks of the same names beside them")
    return [images[stem] for stem in sorted(images)], [masks[stem] for stem in sorted(images)]


def _by_stem(part: Path) -> dict[Path, Path]:
    found: dict[Path, Path] = {}
    for path in image_files(part):
        other = found.setdefault(path.relative_to(part).with_suffix(""), path)
        if other != path:
            raise DataError(f"{other} and {path.name} have one name for two pictures; rename one of them")
    return found


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


def _classes(root: Path, masks: list[Path], ignore: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """(256,): value -> place of its class, 254 for one that may not be, and the labels."""
    table = np.full(256, UNKNOWN, np.uint8)
    table[ignore] = IGNORED
    file = root / LABELS
    names = _names(file) if file.is_file() else []
    found = set()
    if len(names) in (0, 2):  # it may be black and white
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
    try:
        names = [line.strip() for line in file.read_text(encoding="utf-8").rstrip().splitlines()]
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8; save it as that") from error
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


def read(path: Path) -> np.ndarray:
    """The values of a mask, uint8 (h, w): of a palette its places, not its colours."""
    from PIL import Image

    if problem := headers.file_problem(str(path)):
        raise ValueError(problem)
    with Image.open(path) as found:
        if found.mode not in MODES:
            raise ValueError(f"it is of mode {found.mode}; masks are PNGs of grey values or a palette, a value a class")
        return np.asarray(found, np.uint8) * (255 if found.mode == "1" else 1)


def _split(
    root: Path, images: list[Path], masks: list[Path], turns: list[int], table: np.ndarray, taken: Input
) -> Split:
    import tensorflow as tf

    from cnn_app.inputs.orientation import upright_array

    def places(i) -> np.ndarray:
        found = table[upright_array(read(masks[int(i)]), turns[int(i)])]
        if (found == UNKNOWN).any():
            raise ValueError("a value is out of range")
        return found

    def decoded(i):
        mask = tf.numpy_function(places, [i], tf.uint8)
        return tf.ensure_shape(mask, (None, None))

    def fault(i: int) -> str:
        """Why the mask cannot be used, if it is the mask."""
        try:
            values = read(masks[i])
        except (OSError, ValueError, SyntaxError) as error:
            return f"its mask {relative(masks[i], root)} cannot be read: {error}"
        wrong = sorted(set(np.unique(values).tolist()) & set(np.flatnonzero(table == UNKNOWN).tolist()))
        known = int((table < UNKNOWN).sum())
        return (
            f"its mask {relative(masks[i], root)} has the value {wrong[0]}, there are {known} classes" if wrong else ""
        )

    names = [relative(path, root) for path in images]
    return Split(names, taken.raw(list(map(str, images))), {"mask": Column(decoded, fault=fault)})
