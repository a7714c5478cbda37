"""The value of each action."""

from __future__ import annotations

import keras
from keras import layers

from cnn_app.heads import of_family, plain

VALUES = "values"
OUTPUTS = (VALUES,)


def build(family, row) -> keras.Model:
    return of_family(family, row, "control")


def deployed(model: keras.Model) -> keras.Model:
    """{"values": (n, actions)}: the discounted sum of rewards that is expected behind each action."""
    model = plain(model)
    values = layers.Activation("linear", name=VALUES)(model.output)
    return keras.Model(model.input, {VALUES: values}, name=model.name)
