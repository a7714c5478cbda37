"""Masks: folders of them beside their images, their values, and their pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from cnn_app.data.dataset import Column, Dataset, Split, divided
from cnn_app.data.folder import split_folders
from cnn_app.errors import DataError
from cnn_app.inputs import Input, headers
from cnn_app.inputs.files import relative
from cnn_app.inputs.image import image_files
from cnn_app.tasks.drawing import picture, save

IGNORED, UNKNOWN = 255, 254  # places of pixels that do not count, and of values that may not be
BINARY = ("background", "foreground")  # the classes of masks that are black and white
VOID = ("void", "ignore", "unlabeled", "unlabelled")  # labels of what does not count
LABELS = "labels.txt"
MODES = ("L", "P", "1")  # of Pillow: grey, palette, one bit


def load(root: Path, ignore: int, taken: Input) -> Dataset:
    """images/ and masks/ with files of equal stems, and labels.txt, if there is one, with a label a line."""
    pairs = {name: _pairs(folder, root) for name, folder in split_folders(root).items()}
    for images, masks in pairs.values():
        _check_sizes(images, masks)
    table, labels = _classes(root, pairs["train"][1], ignore)
    splits = {name: _split(root, images, masks, table, taken) for name, (images, masks) in pairs.items()}
    return complete(str(root), labels, splits)


def complete(source: str, labels: Sequence[str], splits: dict[str, Split]) -> Dataset:
    if len(labels) < 2:
        raise DataError(f"{source} has one class only ({', '.join(labels) or 'none'}); masks need two or more")
    return Dataset(source, divided(source, splits), tuple(labels))


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


def _check_sizes(images: list[Path], masks: list[Path]) -> None:
    from PIL import Image

    def look(pair) -> str | None:
        try:
            sizes = []
            for path in pair:
                with Image.open(path) as found:
                    sizes.append(found.size)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return None  # told when it is read
        (width, height), (wide, high) = sizes
        return None if sizes[0] == sizes[1] else (
            f"{pair[1]} has {wide}x{high} pixels, its image {pair[0].name} {width}x{height}; they must be equal"
        )  # fmt: skip

    with ThreadPoolExecutor() as pool:
        problem = next((one for one in pool.map(look, zip(images, masks, strict=True)) if one), None)
    if problem:
        raise DataError(problem)


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


def _split(root: Path, images: list[Path], masks: list[Path], table: np.ndarray, taken: Input) -> Split:
    import tensorflow as tf

    def places(i) -> np.ndarray:
        found = table[read(masks[int(i)])]
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


def colours(classes: int) -> np.ndarray:
    """RGBA of each class, uint8 (classes, 4): of two the first is see-through, as it mostly is the ground."""
    from matplotlib import colormaps

    map_ = colormaps["tab10" if classes <= 10 else "tab20" if classes <= 20 else "gist_rainbow"]
    points = np.arange(classes) if classes <= 20 else np.linspace(0, 1, classes)
    found = np.round(255 * np.array([map_(point) for point in points])).astype(np.uint8)
    found[:, 3] = 255
    if classes == 2:
        found[0, 3] = 0
    return found


def legend(classes: int) -> list[str]:
    """As in CSS: #rrggbb, and #rrggbbaa of what is see-through."""
    return [f"#{bytes(colour).hex().removesuffix('ff')}" for colour in colours(classes)]


def margins(mask: Sequence[int], image: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """What lacks above and below, left and right of a map (h, w) in the middle of an image (H, W)."""
    (height, width), (high, wide) = image, mask
    return tuple((less // 2, less - less // 2) for less in (height - high, width - wide))


def overlay(mask: np.ndarray, classes: int, sides: Sequence[int]) -> np.ndarray:
    """A coloured picture of a mask (h, w) as large as its image, uint8 RGBA; nothing where there is no mask."""
    return np.pad(colours(classes)[mask], (*margins(mask.shape, sides), (0, 0)))


def png(picture: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return out.getvalue()


def draw(image: np.ndarray, mask: np.ndarray, labels: Sequence[str], name: str, path: Path) -> None:
    """The image, and beside it the same under its mask, with a legend; a map that is smaller lies in the middle."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    shown = overlay(mask, len(labels), image.shape[:2])
    figure = Figure((10, 5.4), layout="constrained")
    for place, (axes, title) in enumerate(zip(figure.subplots(1, 2), (name, "found"), strict=True)):
        picture(axes, image)
        if place:
            axes.imshow(shown, alpha=0.5, interpolation="nearest")
        axes.set(title=title)
    there = np.unique(mask)
    hues = colours(len(labels)) / 255
    patches = [Patch(facecolor=hues[i], edgecolor="0.4", label=f"{labels[i]} {(mask == i).mean():.1%}") for i in there]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(6, len(patches)), fontsize=8)
    save(figure, path, dpi=110)
