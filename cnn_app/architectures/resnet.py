"""ResNet, its plain counterpart, ResNeXt and SE-ResNet: one network, independent columns.

He et al.,  arXiv:1512.03385, Table 1 (ImageNet), section 4.2 (CIFAR: 6n + 2 layers), section 3.3 (shortcuts).
Xie et al., arXiv:1611.05431, Table 1: groups x width per group ("32x4d"), stride on the 3x3.
Hu et al.,  arXiv:1709.01507, Table 1: squeeze-and-excitation, reduction 16.
Huang et al., arXiv:1603.09382, section 3: units that are left out at random in training, later ones more often.

`stride_on=3` gives what is called v1.5: a bottleneck strides on its 3x3 instead of its first 1x1.
Strided windows are padded symmetrically, as in the authors' Caffe and Torch code.
"""

from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.architectures.blocks import atrous, classifier, conv_bn, image_input, pad, squeeze_excite
from cnn_app.errors import ModelError
from cnn_app.layers import PadShortcut
from cnn_app.registry import ImageVariant

SHORTCUTS = ("projection", "pad", "none")  # option B, option A, a plain network


@dataclass(frozen=True, kw_only=True)
class ResNet(ImageVariant):
    paper: str = "1512.03385"
    year: int = 2015
    depths: tuple[int, ...]  # residual units in each stage
    bottleneck: bool = False  # 1x1-3x3-1x1, else 3x3-3x3
    shortcut: str = "projection"
    stride_on: int = 1  # the kernel of a bottleneck that strides: 1 (v1) or 3 (v1.5)
    small_input: bool = False  # CIFAR: a 3x3 stem of stride 1 without a pool
    stem: int = 64  # channels of the stem
    groups: int = 1  # cardinality of the 3x3
    group_width: int = 64  # channels per group of the first stage's 3x3; they double with each stage
    se_reduction: int | None = None
    conv_bias: bool = False  # keras.applications has a bias in front of each batch normalization
    bn_epsilon: float = 1e-5
    stochastic_depth: float = 0.0  # share of records for which the last unit is left out in training
    output_stride: int | None = None  # of the last map, for dense prediction: later strides become dilations


def _cifar(n, **columns):
    return ResNet(depths=(n, n, n), small_input=True, stem=16, group_width=16, image=(32, 32, 3), classes=10,
                  min_size=4, **columns)  # fmt: skip


def _next(depths, groups, group_width, **columns):
    return ResNet(**{"paper": "1611.05431", "year": 2016} | columns, depths=depths, bottleneck=True, stride_on=3,
                  groups=groups, group_width=group_width)  # fmt: skip


SE = {"paper": "1709.01507", "year": 2017, "se_reduction": 16}
# fmt: off
VARIANTS = {
    "plain18":           ResNet(depths=(2, 2, 2, 2), shortcut="none"),
    "plain34":           ResNet(depths=(3, 4, 6, 3), shortcut="none"),
    "resnet18":          ResNet(depths=(2, 2, 2, 2)),
    "resnet34":          ResNet(depths=(3, 4, 6, 3)),
    "resnet50":          ResNet(depths=(3, 4, 6, 3), bottleneck=True),
    "resnet101":         ResNet(depths=(3, 4, 23, 3), bottleneck=True),
    "resnet152":         ResNet(depths=(3, 8, 36, 3), bottleneck=True),
    "plain20":           _cifar(3, shortcut="none"),
    "plain32":           _cifar(5, shortcut="none"),
    "plain44":           _cifar(7, shortcut="none"),
    "plain56":           _cifar(9, shortcut="none"),
    "plain110":          _cifar(18, shortcut="none"),
    "resnet20":          _cifar(3, shortcut="pad"),
    "resnet32":          _cifar(5, shortcut="pad"),
    "resnet44":          _cifar(7, shortcut="pad"),
    "resnet56":          _cifar(9, shortcut="pad"),
    "resnet110":         _cifar(18, shortcut="pad"),
    "resnext50_32x4d":   _next((3, 4, 6, 3), 32, 4),
    "resnext101_32x4d":  _next((3, 4, 23, 3), 32, 4),
    "resnext101_32x8d":  _next((3, 4, 23, 3), 32, 8),
    "resnext101_64x4d":  _next((3, 4, 23, 3), 64, 4),
    "resnext152_32x4d":  _next((3, 8, 36, 3), 32, 4),
    "seresnet18":        ResNet(depths=(2, 2, 2, 2), **SE),
    "seresnet34":        ResNet(depths=(3, 4, 6, 3), **SE),
    "seresnet50":        ResNet(depths=(3, 4, 6, 3), bottleneck=True, **SE),
    "seresnet101":       ResNet(depths=(3, 4, 23, 3), bottleneck=True, **SE),
    "seresnet152":       ResNet(depths=(3, 8, 36, 3), bottleneck=True, **SE),
    "seresnext50_32x4d":  _next((3, 4, 6, 3), 32, 4, **SE),
    "seresnext101_32x4d": _next((3, 4, 23, 3), 32, 4, **SE),
}
# fmt: on


def build(spec: ResNet) -> keras.Model:
    """Pixels -> logits (N, classes)."""
    if not 0 <= spec.stochastic_depth < 1 or (spec.stochastic_depth and spec.shortcut == "none"):
        raise ModelError(f"stochastic_depth lies from 0 to below 1, and needs shortcuts; received "
                         f"{spec.stochastic_depth!r} with shortcut {spec.shortcut!r}")  # fmt: skip
    if spec.shortcut not in SHORTCUTS or spec.stride_on not in (1, 3):
        raise ModelError(f"shortcut is one of {', '.join(SHORTCUTS)} and stride_on 1 or 3, "
                         f"received {spec.shortcut!r} and {spec.stride_on!r}")  # fmt: skip
    image, x = image_input(spec)
    return keras.Model(image, classifier(features(spec, x)[f"stage{len(spec.depths)}"], spec))


def features(spec: ResNet, x) -> dict:
    """Maps by name: `stem`, then `stage{k}` of stride 2**(k+1), or 2**(k-1) with `small_input`, up to output_stride."""
    options = {"bias": spec.conv_bias, "epsilon": spec.bn_epsilon}
    if spec.small_input:
        x = conv_bn(x, spec.stem, 3, name="stem", **options)
    else:
        x = conv_bn(x, spec.stem, 7, stride=2, name="stem", **options)
        x, padding = pad(x, 3, 2, "symmetric", name="stem_pool")  # zeros are exact here: x comes out of a ReLU
        x = layers.MaxPooling2D(3, 2, padding=padding, name="stem_pool")(x)
    taps = {"stem": x}
    plan = atrous((1, 2, 2, 2)[: len(spec.depths)], spec.output_stride, start=1 if spec.small_input else 4)
    units, done = sum(spec.depths), 0
    for stage, (depth, (stride, dilation, behind)) in enumerate(zip(spec.depths, plan, strict=True), start=1):
        for unit in range(1, depth + 1):
            done += 1
            left_out = spec.stochastic_depth * done / units
            x = residual_unit(x, spec, stage, stride, (dilation, behind), left_out, name=f"stage{stage}_unit{unit}")
            stride, dilation = 1, behind
        taps[f"stage{stage}"] = x
    return taps


def residual_unit(x, spec: ResNet, stage, stride, dilations=(1, 1), left_out=0.0, *, name):
    """relu(shortcut(x) + branch(x)), or relu(branch(x)) in a plain network; `dilations` at the stride and behind it.

    left_out: the share of records that go by the shortcut alone while the network learns.
    """
    options = {"bias": spec.conv_bias, "epsilon": spec.bn_epsilon}
    widen = 2 ** (stage - 1)
    inner = spec.groups * spec.group_width * widen
    if spec.bottleneck:
        width = 4 * spec.stem * widen
        strides, dilation = ((stride, 1), dilations[1]) if spec.stride_on == 1 else ((1, stride), dilations[0])
        y = conv_bn(x, inner, stride=strides[0], name=f"{name}_a", **options)
        y = conv_bn(y, inner, 3, stride=strides[1], dilation=dilation, groups=spec.groups, movable=stride > 1,
                    name=f"{name}_b", **options)  # fmt: skip
        y = conv_bn(y, width, act=None, name=f"{name}_c", **options)
    else:
        width = inner
        y = conv_bn(x, inner, 3, stride=stride, dilation=dilations[0], groups=spec.groups, name=f"{name}_a", **options)
        y = conv_bn(y, inner, 3, dilation=dilations[1], groups=spec.groups, act=None, name=f"{name}_b", **options)
    if spec.se_reduction:
        if not spec.bottleneck:  # nothing, but for published weights that have a ReLU there
            y = layers.Activation("linear", name=f"{name}_b_act")(y)
        y = squeeze_excite(y, spec.se_reduction, name=f"{name}_se")
    if spec.shortcut != "none":
        if x.shape != y.shape and spec.shortcut == "projection":
            x = conv_bn(x, width, stride=stride, act=None, name=f"{name}_shortcut", **options)
        elif x.shape != y.shape:
            x = PadShortcut(width, stride, name=f"{name}_shortcut")(x)
        if left_out:
            y = layers.Dropout(left_out, noise_shape=(None, 1, 1, 1), name=f"{name}_left_out")(y)
        y = layers.Add(name=f"{name}_add")([x, y])
    return layers.ReLU(name=f"{name}_out")(y)
