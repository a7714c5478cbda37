"""Names to families. Importing this module does not import Keras; using it does."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from cnn_app.errors import ModelError, unknown

if TYPE_CHECKING:
    import keras

# A family is a module in cnn_app/architectures with VARIANTS, build(spec) and features(spec, x).
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
)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of a family's table. Sub-classes add the family's own columns."""

    paper: str  # arXiv id, or authors and year where there is none
    year: int
    task: str = "classification"
    image: tuple[int, int, int] = (224, 224, 3)  # height, width, channels
    classes: int = 1000
    min_size: int = 32  # the smallest height and width whose last feature map is not empty
    pixel_mean: float | tuple[float, ...] = 127.5  # the first layer computes (pixel - mean) / std
    pixel_std: float | tuple[float, ...] = 127.5
    dropout: float = 0.0  # in front of the last fully connected layer


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


def family(name: str) -> ModuleType:
    """The module that builds variant `name`."""
    if name not in catalog():
        raise unknown("model", name, catalog())
    return catalog()[name]


def spec(name: str, **columns) -> Variant:
    """The row of variant `name`, with `columns` replaced; each is checked against the row's own."""
    row = family(name).VARIANTS[name]
    known = {field.name for field in fields(row)} - {"paper", "year", "task"}
    for column in columns:
        if column not in known:
            raise unknown(f"column of {name}", column, known)
    row = replace(row, **columns)
    if row.classes < 1:
        raise ModelError(f"{name}: a classifier needs at least one class, received {row.classes}")
    height, width, channels = row.image
    if min(height, width) < row.min_size or channels < 1:
        received = "x".join(map(str, row.image))
        raise ModelError(f"{name} needs pictures of at least {row.min_size}x{row.min_size}, received {received}")
    return row


def build(name: str, **columns) -> keras.Model:
    """Build `name`; `columns` replace those of its row, e.g. `classes=10`."""
    row = spec(name, **columns)
    model = family(name).build(row)
    model.name = name
    return model
