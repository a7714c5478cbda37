"""VGG: 3x3 convolutions of stride 1, 2x2 pools, twice the channels behind a pool.

Simonyan, Zisserman, arXiv:1409.1556, Table 1: configurations A, B, D and E are VGG-11, 13, 16 and 19.
The `_bn` variants normalize in front of each ReLU (Ioffe, Szegedy, arXiv:1502.03167) and, as torchvision's do, keep
the biases that this makes redundant.

`se_reduction` rescales the maps of every convolution behind its ReLU (arXiv:1709.01507, section 3.3). fc6 sees
whatever positions are left, 7x7 of them at 224 pixels; torchvision pools other sizes to 7x7.
"""

from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.architectures.blocks import conv, conv_bn, image_input, logits, squeeze_excite
from cnn_app.registry import ImageVariant


@dataclass(frozen=True, kw_only=True)
class VGG(ImageVariant):
    paper: str = "1409.1556"
    year: int = 2014
    dropout: float = 0.5  # behind fc6 and fc7
    depths: tuple[int, ...]  # convolutions in each stage
    channels: tuple[int, ...] = (64, 128, 256, 512, 512)
    units: int = 4096  # fc6, fc7
    width: float = 1.0  # multiplies all channels and units
    batch_norm: bool = False
    se_reduction: int | None = None
    bn_epsilon: float = 1e-5


DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
VARIANTS = {
    **{f"vgg{depth}": VGG(depths=depths) for depth, depths in DEPTHS.items()},
    **{f"vgg{depth}_bn": VGG(depths=depths, batch_norm=True) for depth, depths in DEPTHS.items()},
}


def build(spec: VGG) -> keras.Model:
    """Pixels -> logits (N, classes)."""
    image, x = image_input(spec)
    x = layers.Flatten(name="flatten")(features(spec, x)[f"pool{len(spec.depths)}"])
    units = scaled(spec.units, spec)
    x = layers.Dense(units, activation="relu", kernel_initializer="he_uniform", name="fc6")(x)
    if spec.dropout:
        x = layers.Dropout(spec.dropout, name="fc6_dropout")(x)
    x = layers.Dense(units, activation="relu", kernel_initializer="he_uniform", name="fc7")(x)
    return keras.Model(image, logits(x, spec))


def features(spec: VGG, x) -> dict:
    """Maps by name: `stage{k}` of stride 2**(k-1), `pool{k}` of stride 2**k."""
    taps = {}
    for stage in range(1, len(spec.depths) + 1):
        x = taps[f"stage{stage}"] = convolutions(x, spec, stage)
        x = taps[f"pool{stage}"] = layers.MaxPooling2D(2, name=f"stage{stage}_pool")(x)
    return taps


def convolutions(x, spec: VGG, stage, *, dilation=1, padding="symmetric"):
    """Those of a stage."""
    width = scaled(spec.channels[stage - 1], spec)
    for unit in range(1, spec.depths[stage - 1] + 1):
        x = conv_relu(x, spec, width, dilation=dilation, padding=padding, name=f"stage{stage}_unit{unit}")
    return x


def conv_relu(x, spec: VGG, width, *, dilation=1, padding="symmetric", name):
    """3x3 with bias, batch normalization if asked for, ReLU."""
    if spec.batch_norm:
        x = conv_bn(x, width, 3, dilation=dilation, padding=padding, bias=True, epsilon=spec.bn_epsilon, name=name)
    else:
        x = conv(x, width, 3, dilation=dilation, padding=padding, bias=True, name=name)
        x = layers.ReLU(name=f"{name}_relu")(x)
    return squeeze_excite(x, spec.se_reduction, name=f"{name}_se") if spec.se_reduction else x


def scaled(channels, spec: VGG):
    """`channels` times the width multiplier."""
    return max(1, round(channels * spec.width))
