"""Probabilities of tags for each word. The scores of tags are part of a paper's network, so the family builds them."""

from __future__ import annotations

import keras
from keras import layers

from cnn_app.heads import THERE, of_family, plain
from cnn_app.layers import WordsThere

OUTPUTS = ("probabilities", THERE)  # of every exported file


def build(family, row) -> keras.Model:
    return of_family(family, row, "tagging")


def deployed(model: keras.Model) -> keras.Model:
    """Logits (n, words, tags) -> {"probabilities"} of the same shape and {"there"} (n, words)."""
    model = plain(model)
    return keras.Model(model.input, {"probabilities": layers.Softmax(name="probabilities")(model.output),
                                     THERE: WordsThere(name=THERE)(model.input)}, name=model.name)  # fmt: skip
