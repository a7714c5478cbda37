"""Probabilities of classes for each place of a map. Networks that were made for it build it themselves.

Any other backbone gets the skips of fully convolutional networks (Long, Shelhamer, Darrell, arXiv:1411.4038, section
4.2): scores of the deepest map by 1x1 convolution, enlarged to the next finer map and added to its scores, and so on
down to the decoder's stride; the sum is enlarged to the image. Enlarging is bilinear, as their transposed convolutions
start. Skips start at zero, as section 4.2 has them.

With an auxiliary output, the second deepest map tells the classes as well while training, as in PSPNet (Zhao et al.,
arXiv:1612.01105, section 3.4).
"""

from __future__ import annotations

import math

import keras
from keras import layers

from cnn_app.architectures.blocks import conv_bn, image_input
from cnn_app.errors import ModelError, unknown
from cnn_app.heads import AUXILIARY, MAIN, WITH_AUXILIARY
from cnn_app.heads.classification import OUTPUTS, deployed  # noqa: F401  probabilities along the last axis
from cnn_app.layers import BilinearResizing

DECODERS = {"fcn32s": 32, "fcn16s": 16, "fcn8s": 8, "fcn4s": 4}  # name -> stride of the finest map that is looked at
DECODER = "fcn8s"
WIDENED = "last"  # features of that name
HIDDEN = 4  # times fewer channels than its map has, in the auxiliary output


def build(family, row, form: str | None = None) -> keras.Model:
    """Pixels -> logits (N, height, width, classes), by one of DECODERS where the network has none of its own.

    With "+aux" behind it {"logits": ..., "aux": ...}, both of that shape.
    """
    if row.task == "segmentation":
        if form:
            raise ModelError(f"{row.paper}: this network has a decoder of its own; leave out decoder={form}")
        return family.build(row)
    form = form or DECODER
    decoder, auxiliary = form.removesuffix(WITH_AUXILIARY) or DECODER, form.endswith(WITH_AUXILIARY)
    if decoder not in DECODERS:
        raise unknown("decoder", decoder, DECODERS)
    if row.input != "image":
        raise ModelError(f"{row.paper}: this network takes {row.input}, which has no pixels to tell the classes of")
    image, x = image_input(row)
    taps = family.features(row, x)
    logits = scores(pyramid(taps, row.image[0], DECODERS[decoder]), row)
    if not auxiliary:
        return keras.Model(image, logits)
    _, *finer = pyramid(taps, row.image[0], 1)
    if not finer:
        raise ModelError(f"{row.paper}: this network has one map only; an auxiliary output needs another")
    return keras.Model(image, {MAIN: logits, AUXILIARY: second(finer[0], row)})


def pyramid(taps: dict, side: int, finest: int) -> list:
    """The deepest map of each size among named features, the coarsest first, down to the stride `finest`.

    Without the many channels that mobile networks widen to in front of their pool, as DeepLab does without them.
    """
    maps: dict[int, tuple] = {}
    for name, tap in taps.items():
        if len(tap.shape) == 4 and not (name == WIDENED and tap.shape[1] in maps):
            maps[tap.shape[1]] = tap
    if not maps:
        raise ModelError("this network has no maps to tell the classes of pixels from")
    deepest = [maps[height] for height in sorted(maps)]
    return deepest[:1] + [tap for tap in deepest[1:] if stride(side, tap) >= finest]


def stride(side: int, tap) -> int:
    """The power of two by which a map is smaller than the image."""
    return 2 ** round(math.log2(side / tap.shape[1]))


def scores(maps: list, row):
    """Logits of the coarsest map, enlarged and added to those of each finer one, and enlarged to the image."""
    x = maps[0]
    if row.dropout:
        x = layers.SpatialDropout2D(row.dropout, name="head_dropout")(x)
    x = layers.Conv2D(row.classes, 1, kernel_initializer="he_normal", name="logits")(x)
    for tap in maps[1:]:
        name = f"head_{stride(row.image[0], tap)}"
        skip = layers.Conv2D(row.classes, 1, kernel_initializer="zeros", name=f"{name}_score")(tap)
        x = layers.Add(name=f"{name}_add")([BilinearResizing(tap.shape[1:3], name=f"{name}_up")(x), skip])
    return BilinearResizing(row.image[:2], name="head_up")(x)


def second(x, row):
    """Logits of one map: 3x3, normalized, 1x1, and enlarged to the image."""
    x = conv_bn(x, max(1, x.shape[-1] // HIDDEN), 3, name="head_aux")
    x = layers.Conv2D(row.classes, 1, kernel_initializer="he_normal", name="head_aux_score")(x)
    return BilinearResizing(row.image[:2], name="head_aux_up")(x)
