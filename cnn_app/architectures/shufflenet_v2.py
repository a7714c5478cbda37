"""ShuffleNet V2: half of the channels pass a unit untouched.

Ma et al., arXiv:1807.11164, Table 5 (channels by scale, repeats 4, 8, 4) and Figure 3 (units c and d).

A unit of stride 2 gives half of its output channels to either branch, as torchvision does. The authors' code, and the
multiply-adds in the paper, keep the input's channels in the projection instead: `even_branches=False`. Both shuffle
behind the concatenation, as in the figure. Squeeze-and-excitation scales the branch in front of the concatenation.
"""

from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.architectures.blocks import classifier, conv_bn, depthwise_bn, image_input, pad, squeeze_excite
from cnn_app.errors import ModelError
from cnn_app.layers import ChannelShuffle, ChannelSplit
from cnn_app.registry import ImageVariant

STEM = 24
WIDTHS = {  # Table 5: output channels of stages 2 to 4 and of the last convolution
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
REPEATS = (4, 8, 4)


@dataclass(frozen=True, kw_only=True)
class ShuffleNetV2(ImageVariant):
    paper: str = "1807.11164"
    year: int = 2018
    scale: float = 1.0
    even_branches: bool = True  # in units of stride 2
    se_reduction: int | None = None
    bn_epsilon: float = 1e-5


VARIANTS = {"shufflenet_v2": ShuffleNetV2()}


def build(spec: ShuffleNetV2) -> keras.Model:
    """Pixels -> logits (N, classes)."""
    image, x = image_input(spec)
    return keras.Model(image, classifier(features(spec, x)["last"], spec))


def features(spec: ShuffleNetV2, x) -> dict:
    """Maps by name: `stem` (stride 4, after its pool), `stage2` to `stage4` (strides 8, 16, 32), `last` (32)."""
    if spec.scale not in WIDTHS:
        raise ModelError(f"shufflenet_v2 has scales {', '.join(map(str, WIDTHS))}, received {spec.scale}")
    *stages, last = WIDTHS[spec.scale]
    x = conv_bn(x, STEM, 3, stride=2, epsilon=spec.bn_epsilon, name="stem")
    x, padding = pad(x, 3, 2, "symmetric", name="stem_pool")  # zeros are exact here: x comes out of a ReLU
    x = layers.MaxPooling2D(3, 2, padding=padding, name="stem_pool")(x)
    taps = {"stem": x}
    for stage, (width, repeats) in enumerate(zip(stages, REPEATS, strict=True), start=2):
        for unit in range(1, repeats + 1):
            x = shuffle_unit(x, spec, width, 2 if unit == 1 else 1, name=f"stage{stage}_unit{unit}")
        taps[f"stage{stage}"] = x
    return taps | {"last": conv_bn(x, last, epsilon=spec.bn_epsilon, name="last")}


def shuffle_unit(x, spec: ShuffleNetV2, width, stride, *, name):
    """Figure 3c (stride 1: half of x passes by) and 3d (stride 2: all of x goes through either branch)."""
    epsilon, half = spec.bn_epsilon, width // 2
    if stride == 1:
        kept, y = ChannelSplit(2, name=f"{name}_split")(x)
    else:
        y, projected = x, half if spec.even_branches else x.shape[-1]
        kept = depthwise_bn(x, stride=2, act=None, epsilon=epsilon, name=f"{name}_project_depthwise")
        kept = conv_bn(kept, projected, epsilon=epsilon, name=f"{name}_project")
    y = conv_bn(y, half, epsilon=epsilon, name=f"{name}_first")
    y = depthwise_bn(y, stride=stride, act=None, epsilon=epsilon, name=f"{name}_depthwise")
    y = conv_bn(y, width - kept.shape[-1], epsilon=epsilon, name=f"{name}_second")
    if spec.se_reduction:
        y = squeeze_excite(y, spec.se_reduction, name=f"{name}_se")
    x = layers.Concatenate(name=f"{name}_concat")([kept, y])
    return ChannelShuffle(2, name=f"{name}_out")(x)
