"""What `cnn-app models` and docs/networks.md say of the networks, from the code."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, fields
from importlib import import_module

from cnn_app import inputs, registry
from cnn_app.architectures.reference import REFERENCE


def rows() -> list[dict]:
    """A dict for each network, as `listing` has them."""
    return list(map(_row, registry.names()))


def markdown() -> str:
    """The page of all networks, docs/networks.md: a table of them, and for each family one of its columns."""
    parts = [INTRODUCTION, table(HEADER, map(_cells, rows())), COLUMNS]
    parts.append(table(COLUMN_HEADER, [*_columns(registry.Variant, ()), *_columns(registry.ImageVariant, ())]))
    for name in registry.FAMILIES:
        module = import_module(f"cnn_app.architectures.{name}")
        variants = list(module.VARIANTS.values())
        title = module.__doc__.strip().split("\n")[0].removesuffix(".")
        names = ", ".join(f"`{variant}`" for variant in module.VARIANTS)
        columns = table(COLUMN_HEADER, _columns(type(variants[0]), variants))
        parts.append(f"### {title}\n\n{textwrap.fill(names, 140)}\n\n{columns}")
    return "\n\n".join(parts)


INTRODUCTION = """\
# Networks

Parameters and multiply-adds are those of the default row, for one record; both are tested. Top-1 in percent is what the
source published for its own weights. This page is printed by `cnn-app models --markdown`."""
COLUMNS = """\
## Columns

A network is a row of its family's table. A column is changed by `-c NAME=VALUE` in `train`, `finetune` and `inspect`,
by a key of `[model]` in a recipe, and by an argument of `create_model` in Python. "By row" stands for columns in which
the rows of a family differ. All families have `classes` and `dropout`, those that see images also the others of this
table:"""
HEADER = ("name", "year", "paper", "task", "input", ">parameters", ">multiply-adds", "top-1 (source)")
COLUMN_HEADER = ("column", "default", "what it is")
FIELD = re.compile(r"^    (\w+): [^#\n]*# (.*)$", re.MULTILINE)  # a column with its comment
MEANINGS = {  # of columns that have no comment, for they are the same in several families
    "aux": 'two auxiliary classifiers while training; outputs are {"logits", "aux1", "aux2"}',
    "batch_norm": "batch normalization behind each convolution",
    "bn_epsilon": "of batch normalization",
    "channels": "of each convolution or stage",
    "classes": "outputs of the last layer",
    "dropout": "in front of the last layer",
    "embedding": "which tables of words: rand, static, nonstatic, multichannel",
    "factorized": "two 3x3 in the place of a 5x5",
    "groups": "of the grouped convolutions",
    "image": "height, width, channels",
    "modules": "channels of the branches of each module",
    "padding": "of windows; unet, dilated8, deconvnet: valid or same, others: same or symmetric",
    "pixel_std": "see pixel_mean",
    "scale": "multiplies all channels",
    "se_reduction": "adds squeeze-and-excitation with this reduction, such as 16",
    "shortcut": "projection (option B), pad (option A) or none (a plain network)",
    "stages": "expansion, channels, units and stride of each stage",
    "torchvision": "as torchvision has it: a 3x3 in the place of the 5x5, and its batch normalization",
    "units": "channels and stride of each unit",
    "up": "deconv or upconv",
    "width": "multiplies all channels",
}


def _columns(kind: type, rows: Sequence) -> Iterator[tuple[str, str, str]]:
    """Name, default and meaning of the columns that a class of rows adds to its base."""
    bases = (registry.Variant, registry.ImageVariant, object)
    kinds = [kind, *(one for one in kind.__mro__[1:] if one not in bases)]
    comments = {name: text for one in reversed(kinds) for name, text in FIELD.findall(inspect.getsource(one))}
    own = {name for one in kinds for name in one.__annotations__} - registry.FIXED - {"min_size"}
    for item in fields(kind):
        if item.name in own:
            several = len({repr(getattr(row, item.name)) for row in rows}) > 1 or item.default is MISSING
            default = "by row" if several else f"`{item.default}`" if len(str(item.default)) < 50 else "the paper's"
            yield f"`{item.name}`", default, comments.get(item.name) or MEANINGS.get(item.name, "")


def _cells(row: dict) -> tuple[str, ...]:
    paper = row["paper"] if row["paper"][0].isalpha() else f"[{row['paper']}](https://arxiv.org/abs/{row['paper']})"
    top1 = "" if row["top1"] is None else f"{row['top1']} ({row['source']})"
    return (f"`{row['name']}`", str(row["year"]), paper, row["task"], f"{row['input']}, {row['shape']}",
            f"{row['parameters']:,}", f"{row['macs']:,}", top1)  # fmt: skip


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown; a column that starts with > is right-aligned."""
    lines = [[column.removeprefix(">") for column in columns], ["---:" if c[0] == ">" else "---" for c in columns]]
    lines += [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _row(name: str) -> dict:
    spec, counts = registry.spec(name), REFERENCE[name]
    return {
        "name": name, "year": spec.year, "paper": spec.paper, "task": spec.task, "input": spec.input,
        "shape": _shape(spec), "classes": spec.classes, "parameters": counts.parameters, "macs": counts.macs,
        "top1": counts.top1, "source": counts.source,
    }  # fmt: skip


def _shape(spec: registry.Variant) -> str:
    """224x224x3, 64 ids, or 8000 samples."""
    taken = inputs.of_row(spec, {})
    (shape,) = (known.shape[1:] for known in taken.specs().values())
    return f"{'x'.join(map(str, shape))} {taken.unit}".rstrip()
