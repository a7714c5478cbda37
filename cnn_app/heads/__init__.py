"""What is put on a backbone's features.

A head is a module here with `build(family, spec) -> keras.Model`. Classification is the family's own
build(), since a paper's classifier is part of its network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnn_app import registry
from cnn_app.errors import unknown

if TYPE_CHECKING:
    import keras

HEADS = ("classification",)


def build(head: str, name: str, columns: dict) -> keras.Model:
    """The network `name` with `head` on it; `columns` replace those of the variant's row."""
    if head not in HEADS:
        raise unknown("head", head, HEADS)
    return registry.build(name, **columns)
