"""Names to families. Importing this module does not import Keras; using it does."""

from __future__ import annotations

import fnmatch
import types
import typing
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from cnn_app.errors import ModelError, unknown

if TYPE_CHECKING:
    import keras

# A family is a module in cnn_app/architectures with VARIANTS, build(spec) and features(spec, x). One on the layers of
# another has TRUNK: that family, and how the names of those layers begin.
# To add one: write the module, add its name here. Nothing else.
FAMILIES = (
    "perceptron",
    "neocognitron",
    "lenet",
    "alexnet",
    "vgg",
    "googlenet",
    "resnet",
    "mobilenet_v1",
    "mobilenet_v2",
    "shufflenet_v1",
    "shufflenet_v2",
    "unet",
    "fcn",
    "dilated",
    "deconvnet",
    "text_cnn",
    "autoencoder",
    "tdnn",
    "dqn",
    "window_tagger",
    "captioner",
    "c3d",
)


STRETCH, CROP, PAD = RESIZES = ("stretch", "crop", "pad")  # see cnn_app.inputs.framing
CROP_SHARE = 0.875  # of the scaled image's shorter side that a network sees: 224 of 256 (arXiv:1409.1556, section 3.2)
FIXED = {"paper", "year", "task", "input"}  # what a row is, and no column


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of a family's table. Sub-classes add the family's own columns."""

    paper: str  # arXiv id, or authors and year where there is none
    year: int
    task: str = "classification"  # a module of cnn_app.tasks, and of cnn_app.heads
    input: str = "image"  # a module of cnn_app.inputs
    classes: int = 1000
    dropout: float = 0.0  # in front of the last layer

    def problem(self) -> str | None:
        """Why this row cannot be built; None if it can."""
        return None if self.classes >= 1 else f"needs at least one class, received {self.classes}"


@dataclass(frozen=True, kw_only=True)
class ImageVariant(Variant):
    """A row of a family that sees images."""

    image: tuple[int, int, int] = (224, 224, 3)  # height, width, channels
    min_size: int = 32  # the smallest height and width whose last feature map is not empty
    pixel_mean: float | tuple[float, ...] = 127.5  # the first layer computes (pixel - mean) / std
    pixel_std: float | tuple[float, ...] = 127.5
    resize: str = STRETCH  # how images of another size are brought to it
    crop_share: float = CROP_SHARE  # of `crop`

    @property
    def leading(self) -> tuple[int, ...]:
        """Sides of a record in front of the image's."""
        return ()

    def problem(self) -> str | None:
        height, width, channels = self.image
        if min(height, width) < self.min_size or channels < 1:
            received = "x".join(map(str, self.image))
            return f"needs images of at least {self.min_size}x{self.min_size}, received {received}"
        return resize_problem(self.resize, self.crop_share) or super().problem()


@dataclass(frozen=True, kw_only=True)
class ClipVariant(ImageVariant):
    """A row of a family that sees short videos; `image` is one frame."""

    input: str = "clip"
    frames: int = 16  # of a clip
    step: int = 1  # every how-manieth frame of a video

    @property
    def leading(self) -> tuple[int, ...]:
        return (self.frames,)

    def problem(self) -> str | None:
        if min(self.frames, self.step) < 1:
            return f"needs one frame or more, and a step of one or more, received {self.frames} and {self.step}"
        return super().problem()


def resize_problem(resize, crop_share) -> str | None:
    """Why images cannot be brought to a network's size like this; None if they can."""
    if resize not in RESIZES:
        return f"resizes images by {', '.join(RESIZES)}, received {resize!r}"
    if type(crop_share) not in (int, float) or not 0 < crop_share <= 1:
        return f"needs a crop_share above 0 and at most 1, received {crop_share!r}"
    return None


@cache
def catalog() -> dict[str, ModuleType]:
    """Every variant name -> the module of its family."""
    modules = [import_module(f"cnn_app.architectures.{family}") for family in FAMILIES]
    names = {name: module for module in modules for name in module.VARIANTS}
    assert len(names) == sum(len(module.VARIANTS) for module in modules), "two families share a variant name"
    return names


def names(pattern: str = "*", task: str | None = None) -> list[str]:
    """The variants whose name matches the shell `pattern` and, if given, whose task is `task`."""
    rows = ((name, family.VARIANTS[name]) for name, family in catalog().items())
    return [name for name, row in rows if fnmatch.fnmatchcase(name, pattern) and task in (None, row.task)]


def tasks() -> list[str]:
    """What the variants are for."""
    return sorted({row.task for family in catalog().values() for row in family.VARIANTS.values()})


def family(name: str) -> ModuleType:
    """The module that builds variant `name`."""
    if name not in catalog():
        raise unknown("model", name, catalog())
    return catalog()[name]


def spec(name: str, **columns) -> Variant:
    """The row of variant `name`, with `columns` replaced; each is checked against the row's own and its type."""
    row = family(name).VARIANTS[name]
    known = {field.name for field in fields(row)} - FIXED
    types_of = typing.get_type_hints(type(row))
    for column, value in columns.items():
        if column not in known:
            raise unknown(f"column of {name}", column, known)
        if not _is_a(value, types_of[column]):
            raise ModelError(f"{name}: {column} is {_told(types_of[column])}, received {value!r}")
    row = replace(row, **columns)
    if problem := row.problem():
        raise ModelError(f"{name} {problem}")
    return row


def build(name: str, **columns) -> keras.Model:
    """Build `name`; `columns` replace those of its row, e.g. `classes=10`."""
    row = spec(name, **columns)
    model = family(name).build(row)
    model.name = name
    return model


def _is_a(value, kind) -> bool:
    """Whether `value` has the annotated type of a column; an integer will do for a float."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return any(_is_a(value, option) for option in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        kinds = typing.get_args(kind)
        if not isinstance(value, tuple | list):
            return False
        if kinds[-1:] == (Ellipsis,):
            return all(_is_a(item, kinds[0]) for item in value)
        return len(value) == len(kinds) and all(map(_is_a, value, kinds))
    if kind is type(None):
        return value is None
    if kind in (int, float):
        return isinstance(value, int | float if kind is float else int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _told(kind) -> str:
    """A type in words."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " or ".join(map(_told, typing.get_args(kind)))
    if typing.get_origin(kind) is tuple:
        kinds = typing.get_args(kind)
        return "a list" if kinds[-1:] == (Ellipsis,) else f"a list of {len(kinds)}"
    names = {type(None): "nothing", bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))
