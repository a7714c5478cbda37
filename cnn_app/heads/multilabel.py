"""A probability of each class for itself, on the networks that are made for classification."""

from __future__ import annotations

import keras
from keras import layers

from cnn_app.heads import plain
from cnn_app.heads.classification import OUTPUTS, build  # noqa: F401  the same network, its logits read otherwise


def deployed(model: keras.Model) -> keras.Model:
    """Logits (n, classes) -> {"probabilities"} of the same shape, which do not sum to one."""
    model = plain(model)
    return keras.Model(model.input, {"probabilities": layers.Activation("sigmoid", name="probabilities")(model.output)},
                       name=model.name)  # fmt: skip
