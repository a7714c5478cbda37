"""What is put on a backbone's features: "a block of compute, then the thing", one file a head.

A head is a module here with `build(family, row) -> keras.Model`, the network that is trained, and `deployed(model)`,
the same with named outputs as every exported file has them. A task has a head of its own name. To add one: write the
module, add its name to HEADS. Where a head comes in several forms, `build` takes one's name as well.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from cnn_app import registry
from cnn_app.errors import ModelError, unknown

if TYPE_CHECKING:
    import keras

HEADS = ("classification", "multilabel", "segmentation", "localization", "reconstruction", "tagging", "control",
         "captioning")  # fmt: skip
MAIN = "logits"  # of classes, where a network has several outputs
CODE = "code"  # the output that is all a network knows of a record, where it has one
THERE = "there"  # the output that is 1 for each word of a sentence and 0 behind the last, where there is one
AUXILIARY = "aux"  # what the names of outputs begin with that only help while training
WITH_AUXILIARY = "+aux"  # behind a form of a head that can have such an output


def build(name: str, columns: dict, head: str | None = None) -> keras.Model:
    """The network `name` with a head, by default that of its task; `columns` replace those of the variant's row.

    head: one of HEADS, and behind a slash a form of it: "segmentation/fcn16s".
    """
    row = registry.spec(name, **columns)
    kind, _, form = (head or row.task).partition("/")
    model = named(kind).build(registry.family(name), row, *([form] if form else []))
    model.name = name
    return model


def named(head: str):
    if head not in HEADS:
        raise unknown("head", head, HEADS)
    return import_module(f"cnn_app.heads.{head}")


def plain(model: keras.Model) -> keras.Model:
    """`model` without the auxiliary outputs that only help while training."""
    import keras

    if not isinstance(model.output, dict):
        return model
    kept = {name: tensor for name, tensor in model.output.items() if not name.startswith(AUXILIARY)}
    if len(kept) == len(model.output) > 1:
        return model
    return keras.Model(model.input, kept[MAIN] if set(kept) == {MAIN} else kept, name=model.name)


def needed(model: keras.Model, tensor):
    """The inputs of `model` that a tensor of it follows from; one stands for itself."""
    waiting, seen = [tensor], set()
    while waiting:
        operation, place, _ = waiting.pop()._keras_history
        if (operation, place) not in seen:
            seen.add((operation, place))
            waiting += operation._inbound_nodes[place].input_tensors
    names = {operation.name for operation, _ in seen}
    found = [given for given in model.inputs if given.name in names]
    return model.input if len(found) == len(model.inputs) else found[0] if len(found) == 1 else found


def of_family(family, row, head: str) -> keras.Model:
    """The head that is part of a paper's network, and no other."""
    if row.task != head:
        raise ModelError(f"{row.paper}: this network is one for {row.task}, and has no head for {head}")
    return family.build(row)
