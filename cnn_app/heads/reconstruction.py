"""The image again, and its code. Encoder and decoder are one network, which its family builds."""

from __future__ import annotations

import keras
from keras import layers

from cnn_app.heads import CODE, MAIN, of_family, plain

IMAGE = "reconstruction"
OUTPUTS = (IMAGE, CODE)  # of every exported file
DECODER, SPREAD = "decoder_dense", "log_variance"  # layers: that takes codes, that tells how far they may lie off


def build(family, row) -> keras.Model:
    return of_family(family, row, "reconstruction")


def deployed(model: keras.Model) -> keras.Model:
    """{"reconstruction": pixels in [0, 1] (n, h, w, channels), "code": (n, code)}; of a distribution its mean."""
    model = plain(model)
    image = layers.Activation("sigmoid", name=IMAGE)(model.output[MAIN])
    return keras.Model(model.input, {IMAGE: image, CODE: model.output[CODE]}, name=model.name)


def parts(model: keras.Model) -> dict[str, keras.Model]:
    """`encode`, pixels -> {"code"}, and `decode`, codes -> {"reconstruction"}, of a deployed model."""
    inner = keras.Model(model.get_layer(DECODER).input, model.output[IMAGE])
    code = keras.Input(inner.input_shape[1:], name=CODE)
    return {
        "encode": keras.Model(model.input, {CODE: model.output[CODE]}, name="encode"),
        "decode": keras.Model(code, {IMAGE: inner(code)}, name="decode"),
    }


def is_variational(model: keras.Model) -> bool:
    """Whether codes are draws from distributions, which the prior is like."""
    return any(layer.name == SPREAD for layer in model.layers)
