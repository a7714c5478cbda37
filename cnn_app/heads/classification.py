"""Probabilities of classes. A paper's classifier is part of its network, so the family builds it."""

from __future__ import annotations

import keras
from keras import layers

MAIN = "logits"  # the output that counts; others help while training
OUTPUTS = ("probabilities",)  # of every exported file


def build(family, row) -> keras.Model:
    from cnn_app.heads import of_family

    return of_family(family, row, "classification")


def plain(model: keras.Model) -> keras.Model:
    """`model` without the auxiliary outputs that only help while training."""
    return keras.Model(model.input, model.output[MAIN], name=model.name) if isinstance(model.output, dict) else model


def deployed(model: keras.Model) -> keras.Model:
    """Logits (n, ..., classes) -> {"probabilities"} of the same shape."""
    model = plain(model)
    return keras.Model(model.input, {"probabilities": layers.Softmax(name="probabilities")(model.output)},
                       name=model.name)  # fmt: skip
