"""ShuffleNet: pointwise group convolutions and a channel shuffle between them.

Zhang et al., arXiv:1707.01083, Table 1 (channels by number of groups, repeats 4, 8, 4) and Figure 2 (units).
`scale` multiplies every layer's channels. Bottlenecks have a quarter of a unit's output channels and the
first pointwise convolution of stage 2 is not grouped (section 3.2).

The stem has 24 x scale channels, but not under 12 (the paper's 13 M multiply-adds at 0.25x say so) and a
multiple of the groups. In a stride-2 unit ReLU stands in front of the concatenation, on the branch alone: the
pooled shortcut is never negative, so the function is the paper's, and the ReLU fuses into a convolution.
"""

import math
from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.architectures.blocks import classifier, conv_bn, depthwise_bn, image_input, pad, squeeze_excite
from cnn_app.errors import ModelError
from cnn_app.layers import ChannelShuffle, JoinChannels
from cnn_app.registry import ImageVariant

WIDTHS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # Table 1: output channels of stage 2; they double with each stage
REPEATS = (4, 8, 4)


@dataclass(frozen=True, kw_only=True)
class ShuffleNetV1(ImageVariant):
    paper: str = "1707.01083"
    year: int = 2017
    groups: int = 3
    scale: float = 1.0
    stem: int | None = None  # channels of the first convolution; None: by the rule above
    se_reduction: int | None = None
    bn_epsilon: float = 1e-5


VARIANTS = {"shufflenet_v1": ShuffleNetV1()}


def build(spec: ShuffleNetV1) -> keras.Model:
    """Pixels -> logits (N, classes)."""
    image, x = image_input(spec)
    return keras.Model(image, classifier(features(spec, x)["stage4"], spec))


def widths(spec: ShuffleNetV1) -> tuple[int, int, int, int]:
    """Output channels of the stem and of stages 2 to 4."""
    if spec.groups not in WIDTHS:
        raise ModelError(f"shufflenet_v1 has groups {', '.join(map(str, WIDTHS))}, received {spec.groups}")
    stem = spec.stem or math.ceil(max(12, 24 * spec.scale) / spec.groups) * spec.groups
    first = round(WIDTHS[spec.groups] * spec.scale)
    for channels in (first // 4, first - stem):
        if channels < spec.groups or channels % spec.groups:
            raise ModelError(
                f"shufflenet_v1 at scale {spec.scale} has a layer of {channels} channels, which do not fall into "
                f"{spec.groups} groups; choose another scale or groups"
            )
    return stem, first, 2 * first, 4 * first


def features(spec: ShuffleNetV1, x) -> dict:
    """Maps by name: `stem` (stride 4, after its pool), `stage2` to `stage4` (strides 8, 16, 32)."""
    stem, *stages = widths(spec)
    x = conv_bn(x, stem, 3, stride=2, epsilon=spec.bn_epsilon, name="stem")
    x, padding = pad(x, 3, 2, "symmetric", name="stem_pool")
    x = layers.MaxPooling2D(3, 2, padding=padding, name="stem_pool")(x)
    taps = {"stem": x}
    for stage, (width, repeats) in enumerate(zip(stages, REPEATS, strict=True), start=2):
        for unit in range(1, repeats + 1):
            grouped_reduce = spec.groups if (stage, unit) != (2, 1) else 1
            x = shuffle_unit(x, spec, width, 2 if unit == 1 else 1, grouped_reduce, name=f"stage{stage}_unit{unit}")
        taps[f"stage{stage}"] = x
    return taps


def shuffle_unit(x, spec: ShuffleNetV1, width, stride, grouped_reduce, *, name):
    """Figure 2b (stride 1: addition) and 2c (stride 2: the pooled input is concatenated)."""
    branch_width = width if stride == 1 else width - x.shape[-1]
    y = conv_bn(x, width // 4, groups=grouped_reduce, epsilon=spec.bn_epsilon, name=f"{name}_reduce")
    if spec.groups > 1:
        y = ChannelShuffle(spec.groups, name=f"{name}_shuffle")(y)
    y = depthwise_bn(y, stride=stride, act=None, epsilon=spec.bn_epsilon, name=f"{name}_depthwise")
    y = conv_bn(y, branch_width, groups=spec.groups, act=None if stride == 1 else "relu", epsilon=spec.bn_epsilon,
                name=f"{name}_expand")  # fmt: skip
    if spec.se_reduction:
        y = squeeze_excite(y, spec.se_reduction, name=f"{name}_se")
    if stride == 1:
        return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([x, y]))
    x, padding = pad(x, 3, 2, "symmetric", name=f"{name}_pool")
    x = layers.AveragePooling2D(3, 2, padding=padding, name=f"{name}_pool")(x)
    return JoinChannels(name=f"{name}_concat")([x, y])
