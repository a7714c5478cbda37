"""Probabilities of classes. A paper's classifier is part of its network, so the family builds it."""

from __future__ import annotations

import keras
from keras import layers

from cnn_app.heads import of_family, plain

OUTPUTS = ("probabilities",)  # of every exported file


def build(family, row) -> keras.Model:
    return of_family(family, row, "classification")


def deployed(model: keras.Model) -> keras.Model:
    """Logits (n, ..., classes) -> {"probabilities"} of the same shape."""
    model = plain(model)
    return keras.Model(model.input, {"probabilities": layers.Softmax(name="probabilities")(model.output)},
                       name=model.name)  # fmt: skip
