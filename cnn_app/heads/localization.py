"""A class and one box for each image, on the deepest map of a network that is made for classification.

Every place of the map tells a box, relative to itself, and how much that counts; the box is their mean. So an object
that lies elsewhere moves the box without a weight of its own for each place.
"""

from __future__ import annotations

import keras
from keras import layers

from cnn_app.architectures.blocks import image_input, logits
from cnn_app.errors import ModelError
from cnn_app.heads import MAIN, plain
from cnn_app.layers import AroundPlaces

OUTPUTS = ("probabilities", "box")  # of every exported file
BOX = "box"  # x1, y1, x2, y2 as shares of the image's sides
WIDTH = 128  # channels that places are told by


def build(family, row) -> keras.Model:
    """Pixels -> {"logits": (N, classes), "box": (N, 4)}."""
    if row.task != "classification" or row.input != "image":
        raise ModelError(f"{row.paper}: this network is one for {row.task} of {row.input}s, and has no head for boxes")
    image, x = image_input(row)
    maps = [tensor for tensor in family.features(row, x).values()]
    maps = [tensor for tensor in maps if len(tensor.shape) == 4 and tensor.shape[1] * tensor.shape[2] > 1]
    if not maps:
        raise ModelError(f"{row.paper}: this network has no map of features, on which boxes are found")
    scores = logits(layers.GlobalAveragePooling2D(name="pool")(maps[-1]), row)
    return keras.Model(image, {MAIN: scores, BOX: box(maps[-1])})


def box(x):
    """Map (N, h, w, C) -> (N, 4)."""
    high, wide = x.shape[1:3]
    x = layers.Conv2D(WIDTH, 1, activation="relu", kernel_initializer="he_normal", name="head_places")(x)
    votes = layers.Conv2D(4, 1, kernel_initializer="zeros", name="head_votes")(x)
    votes = AroundPlaces(name="head_around")(votes)
    weights = layers.Conv2D(1, 1, name="head_weights")(x)
    weights = layers.Softmax(axis=1, name="head_shares")(layers.Reshape((high * wide, 1), name="head_flat")(weights))
    votes = layers.Reshape((high * wide, 4), name="head_rows")(votes)
    found = layers.Dot(axes=1, name="head_mean")([weights, votes])
    return layers.Reshape((4,), name=BOX)(found)


def deployed(model: keras.Model) -> keras.Model:
    """Logits (n, classes) and boxes -> {"probabilities", "box"}."""
    model = plain(model)
    scores = model.output[MAIN]
    sure = layers.Rescaling(0.0, 1.0, name="probabilities")  # one class alone has all of it
    probabilities = (layers.Softmax(name="probabilities") if scores.shape[-1] > 1 else sure)(scores)
    return keras.Model(model.input, {"probabilities": probabilities, BOX: model.output[BOX]}, name=model.name)
