"""MobileNetV2: inverted residuals with linear bottlenecks.

Sandler et al., arXiv:1801.04381, Table 2; `width` multiplies every layer's channels, the last one's only
upwards (section 4, "the width multiplier ... to all layers except the very last convolutional layer" below 1).
Padding is TensorFlow's `same`, as in the authors' code; "symmetric" is what PyTorch's ports use.
"""

from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.architectures.blocks import (
    atrous,
    classifier,
    conv_bn,
    depthwise_bn,
    divisible,
    image_input,
    squeeze_excite,
)
from cnn_app.registry import ImageVariant

# Table 2: expansion t, channels c, repeats n, stride s of the first
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


@dataclass(frozen=True, kw_only=True)
class MobileNetV2(ImageVariant):
    paper: str = "1801.04381"
    year: int = 2018
    width: float = 1.0
    stages: tuple[tuple[int, int, int, int], ...] = STAGES
    padding: str = "same"
    se_reduction: int | None = None
    bn_epsilon: float = 1e-3
    output_stride: int | None = None  # of the last map, for dense prediction: later strides become dilations


VARIANTS = {"mobilenet_v2": MobileNetV2()}


def build(spec: MobileNetV2) -> keras.Model:
    """Pixels -> logits (N, classes)."""
    image, x = image_input(spec)
    return keras.Model(image, classifier(features(spec, x)["last"], spec))


def features(spec: MobileNetV2, x) -> dict:
    """Maps by name: `stem` (stride 2), `stage1` to `stage7` (strides 2, 4, 8, 16, 16, 32, 32), `last` (32).

    `output_stride` holds the later ones.
    """
    options = {"padding": spec.padding, "epsilon": spec.bn_epsilon}
    x = conv_bn(x, divisible(32 * spec.width), 3, stride=2, act="relu6", name="stem", **options)
    taps = {"stem": x}
    plan = atrous([stage[-1] for stage in spec.stages], spec.output_stride, start=2)
    for stage, (columns, (stride, dilation, behind)) in enumerate(zip(spec.stages, plan, strict=True), start=1):
        expansion, channels, repeats, _ = columns
        for unit in range(1, repeats + 1):
            x = inverted_residual(x, spec, expansion, divisible(channels * spec.width), stride, dilation,
                                  name=f"stage{stage}_unit{unit}")  # fmt: skip
            stride, dilation = 1, behind
        taps[f"stage{stage}"] = x
    last = divisible(1280 * max(1.0, spec.width))
    return taps | {"last": conv_bn(x, last, act="relu6", name="last", **options)}


def inverted_residual(x, spec: MobileNetV2, expansion, width, stride, dilation=1, *, name):
    """1x1 expansion, 3x3 depthwise, linear 1x1 projection; a shortcut where the shape stays."""
    options = {"padding": spec.padding, "epsilon": spec.bn_epsilon}
    y = conv_bn(x, expansion * x.shape[-1], act="relu6", name=f"{name}_expand", **options) if expansion > 1 else x
    y = depthwise_bn(y, stride=stride, dilation=dilation, act="relu6", name=f"{name}_depthwise", **options)
    if spec.se_reduction:
        y = squeeze_excite(y, spec.se_reduction, name=f"{name}_se")
    y = conv_bn(y, width, act=None, name=f"{name}_project", **options)
    return layers.Add(name=f"{name}_add")([x, y]) if x.shape == y.shape else y
