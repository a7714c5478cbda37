"""Where images and their masks lie in a folder: layouts of known data sets, each a function that finds its pairs.

Any of them may stand for a folder of one's own: what counts is the names of folders. A mask has the name of its image,
with another ending, and with `_L` behind it or not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cnn_app.data.dataset import SPLITS
from cnn_app.data.folder import split_folders
from cnn_app.errors import DataError
from cnn_app.inputs.files import relative
from cnn_app.inputs.image_files import image_files
from cnn_app.tasks.mask_colours import lines_of

OWN = ("images", "masks")
STILLS = ("701_StillsRaw_full", "LabeledApproved_full")  # CamVid as its authors give it
ANNOTATED = ("annot", "_labels")  # behind the name of a split: CamVid as SegNet's authors and others have it
MARK = "_L"  # behind the name of a mask of CamVid
VOC_PARTS, VOC_LISTS = ("JPEGImages", "SegmentationClass"), Path("ImageSets", "Segmentation")
VOC_LABELS = ("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
              "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
              "tvmonitor")  # fmt: skip

Pairs = tuple[list[Path], list[Path]]  # images and their masks, in the order of names


@dataclass(frozen=True)
class Layout:
    pairs: dict[str, Pairs]  # by split
    labels: tuple[str, ...] = ()  # of the values, where nothing else says them


def found(root: Path) -> Layout:
    """The first layout whose folders are there."""
    layouts: tuple[Callable[[Path], Layout | None], ...] = (_voc, _annotated, _stills)
    there = (layout(root) for layout in layouts)
    return next((one for one in there if one is not None), None) or Layout(
        {name: _of_parts(folder, root) for name, folder in split_folders(root).items()}
    )


def _voc(root: Path) -> Layout | None:
    """PASCAL VOC: which pictures have masks stands in lists; without lists, those that have one."""
    if not (root / VOC_PARTS[1]).is_dir():
        return None
    if not (root / VOC_PARTS[0]).is_dir():
        raise DataError(f"{root} has {VOC_PARTS[1]}/ but no {VOC_PARTS[0]}/; add it")
    images, masks = (_by_stem(root / part) for part in VOC_PARTS)
    lists = {name: file for name in SPLITS if (file := root / VOC_LISTS / f"{name}.txt").is_file()}
    if lists and "train" not in lists:
        raise DataError(f"{root / VOC_LISTS} has {', '.join(lists)} but no train.txt; add it, or remove the lists")
    listed = {name: _listed(file, root, images, masks) for name, file in lists.items()}
    return Layout(listed or {"train": _pairs({stem: images[stem] for stem in images if stem in masks}, masks, root)},
                  VOC_LABELS)  # fmt: skip


def _listed(file: Path, root: Path, images: dict[Path, Path], masks: dict[Path, Path]) -> Pairs:
    lines: dict[Path, int] = {}
    for line, name in enumerate(lines_of(file), start=1):
        if not (stem := name.strip()):
            continue
        if (first := lines.setdefault(Path(stem), line)) != line:
            raise DataError(f"{file}:{line} lists {stem!r}, which line {first} has; remove one of them")
        for part, files in zip(VOC_PARTS, (images, masks), strict=True):
            if Path(stem) not in files:
                raise DataError(f"{file}:{line} lists {stem!r}, which {part}/ lacks; add it or remove the line")
    if not lines:
        raise DataError(f"{file} is empty; list names of pictures, a line each, or remove it")
    return _pairs({stem: images[stem] for stem in lines}, {stem: masks[stem] for stem in lines}, root)


def _annotated(root: Path) -> Layout | None:
    """Folders of images by split, and beside each one of masks."""
    beside = {name: [folder for end in ANNOTATED if (folder := root / f"{name}{end}").is_dir()] for name in SPLITS}
    if not any(beside.values()):
        return None
    pairs = {}
    for name, folder in split_folders(root).items():
        if not beside.get(name):
            raise DataError(f"{root} has {name}/ but no {name}{ANNOTATED[0]}/ with its masks; add it")
        pairs[name] = _pairs(_by_stem(folder), _by_stem(beside[name][0]), root)
    if lonely := [folders[0].name for name, folders in beside.items() if folders and name not in pairs]:
        raise DataError(f"{root} has {lonely[0]}/ but no images for it; add them or remove it")
    return Layout(pairs)


def _stills(root: Path) -> Layout | None:
    parts = [root / part for part in STILLS]
    return Layout({"train": _pairs(*map(_by_stem, parts), root)}) if all(part.is_dir() for part in parts) else None


def _of_parts(folder: Path, root: Path) -> Pairs:
    parts = [folder / kind for kind in OWN]
    for part in parts:
        if not part.is_dir():
            raise DataError(f"{folder} has no {part.name}/; segmentation needs images/ and masks/ with equal names")
    images, masks = (_by_stem(part) for part in parts)
    if not images and not masks:
        raise DataError(f"{folder}/images is empty; add images, and masks of the same names beside them")
    return _pairs(images, masks, root)


def _pairs(images: dict[Path, Path], masks: dict[Path, Path], root: Path) -> Pairs:
    """Of images and masks by their stems."""
    masks = {_unmarked(stem, images): file for stem, file in masks.items()}
    for one, other, what in ((images, masks, "mask"), (masks, images, "image")):
        if lonely := sorted(set(one) - set(other)):
            raise DataError(f"{relative(one[lonely[0]], root)} has no {what}; add it or remove the file")
    if not images:
        raise DataError(f"{root} has folders of images and masks with nothing in them; add some")
    return [images[stem] for stem in sorted(images)], [masks[stem] for stem in sorted(images)]


def _unmarked(stem: Path, images: dict[Path, Path]) -> Path:
    plain = stem.with_name(stem.name.removesuffix(MARK)) if stem.name != MARK else stem
    return stem if stem in images else plain


def _by_stem(part: Path) -> dict[Path, Path]:
    files: dict[Path, Path] = {}
    for path in image_files(part):
        stem = path.relative_to(part).with_suffix("")
        other = files.setdefault(stem, path)
        if other != path:
            raise DataError(f"{other} and {path.name} have one name for two pictures; rename one of them")
    return files
