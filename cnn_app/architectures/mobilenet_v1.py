"""MobileNet: depthwise separable convolutions in the place of dense ones.

Howard et al., arXiv:1704.04861, Table 1; `width` and the image's size are its two multipliers (section 3.3, 3.4).

ReLU6, padding `same` and at least 8 channels in every layer are those of the authors' released code; the paper says
ReLU and nothing of the rest. Table 1 prints stride 2 for the last depthwise layer, whose output stays 7x7: it is 1.
Squeeze-and-excitation stands behind a unit's pointwise convolution; 0.5 M more weights are what arXiv:1709.01507,
Table 3, has.
"""

from dataclasses import dataclass

import keras

from cnn_app.architectures.blocks import atrous, classifier, conv_bn, depthwise_bn, image_input, squeeze_excite
from cnn_app.registry import ImageVariant

STEM = 32
# Table 1: stride of the depthwise, output channels of the pointwise convolution
UNITS = ((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), *[(1, 512)] * 5, (2, 1024), (1, 1024))


@dataclass(frozen=True, kw_only=True)
class MobileNetV1(ImageVariant):
    paper: str = "1704.04861"
    year: int = 2017
    width: float = 1.0
    units: tuple[tuple[int, int], ...] = UNITS
    padding: str = "same"
    se_reduction: int | None = None
    bn_epsilon: float = 1e-3
    dropout: float = 0.001
    output_stride: int | None = None  # of the last map, for dense prediction: later strides become dilations


VARIANTS = {"mobilenet_v1": MobileNetV1()}


def build(spec: MobileNetV1) -> keras.Model:
    """Pixels -> logits (N, classes)."""
    image, x = image_input(spec)
    return keras.Model(image, classifier(features(spec, x)[f"unit{len(spec.units)}"], spec))


def features(spec: MobileNetV1, x) -> dict:
    """Maps by name: `stem` (stride 2), then `unit1` to `unit13` (4 from `unit2`, 8 from 4, 16 from 6, 32 from 12).

    `output_stride` holds the later ones.
    """
    options = {"act": "relu6", "padding": spec.padding, "epsilon": spec.bn_epsilon}
    x = conv_bn(x, _scaled(STEM, spec.width), 3, stride=2, name="stem", **options)
    taps = {"stem": x}
    plan = atrous([stride for stride, _ in spec.units], spec.output_stride, start=2)
    for unit, ((_, channels), (stride, dilation, _)) in enumerate(zip(spec.units, plan, strict=True), start=1):
        x = depthwise_bn(x, stride=stride, dilation=dilation, name=f"unit{unit}_depthwise", **options)
        x = conv_bn(x, _scaled(channels, spec.width), name=f"unit{unit}_pointwise", **options)
        if spec.se_reduction:
            x = squeeze_excite(x, spec.se_reduction, name=f"unit{unit}_se")
        taps[f"unit{unit}"] = x
    return taps


def _scaled(channels: int, width: float) -> int:
    return max(8, int(channels * width))
