"""FCN: VGG-16 whose fully connected layers slide over the image, and its scores made larger.

Long, Shelhamer, Darrell, arXiv:1411.4038, sections 3 and 4, as in the authors' Caffe files (voc-fcn32s, -16s, -8s):
fc6 is a 7x7 convolution, fc7 and the scores are 1x1; scores of stride 32 are enlarged twice and summed with those of
pool4, fcn8s does so again with pool3, and what is left to the pixels is one step. Score layers start as zeros. The
image has 100 pixels of zeros around it, so that fc6 has its 7x7 positions for whatever size, and maps that meet are
cut where those files cut them. As there, transposed convolutions interpolate bilinearly and stay as they are.

By columns: `padding="same"` has no zeros around the image, pads fc6 instead and cuts what is too much at the bottom
right, which takes a fraction of the time for small images; `up="learned"` only starts bilinear (section 3.3).
"""

from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.architectures.blocks import image_input
from cnn_app.architectures.vgg import DEPTHS, VGG, convolutions, scaled
from cnn_app.layers import Bilinear, FixedConv2DTranspose

PADDINGS = ("wide", "same")
UPS = ("fixed", "learned")
STRIDES = (32, 16, 8)
BORDER = 100  # of zeros, one of them by the first convolution itself
SKIP_OFFSETS = {4: 5, 3: 9}  # what is cut off in front of the scores of a pool
OFFSETS = {32: 19, 16: 27, 8: 31}  # what is cut off in front of the pixels


@dataclass(frozen=True, kw_only=True)
class FCN(VGG):
    paper: str = "1411.4038"
    year: int = 2015
    task: str = "segmentation"
    image: tuple[int, int, int] = (500, 500, 3)
    min_size: int = 1  # pools round up
    classes: int = 21
    depths: tuple[int, ...] = DEPTHS[16]
    stride: int  # of the finest map with scores: 32, 16 or 8
    padding: str = "wide"  # 100 pixels of zeros around the image, or same: none
    up: str = "fixed"  # bilinear kernels: fixed or learned

    def problem(self) -> str | None:
        if self.padding not in PADDINGS or self.up not in UPS:
            return (f"takes padding {' or '.join(PADDINGS)} and up {' or '.join(UPS)}, "
                    f"received {self.padding!r} and {self.up!r}")  # fmt: skip
        if self.stride not in STRIDES:
            return f"has scores of stride {', '.join(map(str, STRIDES))}, received {self.stride}"
        return trunk_problem(self) or super().problem()


VARIANTS = {f"fcn{stride}s": FCN(stride=stride) for stride in STRIDES}
TRUNK = "vgg", ("stage", "fc")  # whose published weights fit layers whose names begin so


def trunk_problem(spec: VGG) -> str | None:
    """Why VGG's columns do not make the trunk of a network with five pools."""
    if len(spec.depths) == len(spec.channels) == 5 and min(*spec.depths, *spec.channels) >= 1 and spec.width > 0:
        return None
    return (f"has five stages, each with a convolution and channels, and a width above 0; received depths "
            f"{spec.depths}, channels {spec.channels} and width {spec.width}")  # fmt: skip


def build(spec: FCN) -> keras.Model:
    """Pixels -> logits (N, height, width, classes)."""
    image, x = image_input(spec)
    taps = features(spec, x)
    x, stride = score(taps["fc7"], spec, name="logits"), 32
    for pool in (4, 3):
        if stride > spec.stride:
            stride //= 2
            x = enlarged(x, 2, spec, name=f"up{stride}")
            scores = score(taps[f"pool{pool}"], spec, name=f"pool{pool}_logits")
            if spec.padding == "wide":
                scores = cut(scores, x.shape[1:3], SKIP_OFFSETS[pool], name=f"pool{pool}_crop")
            x = layers.Add(name=f"up{stride}_add")([cut(x, scores.shape[1:3], 0, name=f"up{stride}_crop"), scores])
    x = enlarged(x, stride, spec, name="up1")
    return keras.Model(image, cut(x, spec.image[:2], OFFSETS[stride] if spec.padding == "wide" else 0, name="up1_crop"))


def features(spec: FCN, x) -> dict:
    """Maps by name: `stage{k}` of stride 2**(k-1), `pool{k}` of stride 2**k; `fc6` and `fc7` of stride 32."""
    taps = {}
    if spec.padding == "wide":
        x = layers.ZeroPadding2D(BORDER - 1, name="border")(x)
    for stage in range(1, len(spec.depths) + 1):
        x = taps[f"stage{stage}"] = convolutions(x, spec, stage)
        x = taps[f"pool{stage}"] = layers.MaxPooling2D(2, padding="same", name=f"stage{stage}_pool")(x)
    return taps | fully_connected(x, spec, padding="valid" if spec.padding == "wide" else "same")


def fully_connected(x, spec: VGG, *, dilation=1, padding) -> dict:
    """VGG's fc6 and fc7 as convolutions, each with ReLU and dropout."""
    taps = {}
    for name, kernel in (("fc6", 7), ("fc7", 1)):
        x = layers.Conv2D(scaled(spec.units, spec), kernel, padding=padding, activation="relu",
                          dilation_rate=dilation if kernel > 1 else 1, kernel_initializer="he_uniform",
                          name=name)(x)  # fmt: skip
        if spec.dropout:
            x = layers.Dropout(spec.dropout, name=f"{name}_dropout")(x)
        taps[name] = x
    return taps


def score(x, spec: FCN, *, name):
    """A number for each class at each position."""
    return layers.Conv2D(spec.classes, 1, kernel_initializer="zeros", name=name)(x)


def enlarged(x, factor, spec: FCN, *, name):
    """`factor` times the height and width; unpadded, and half a position more at each side."""
    kind = FixedConv2DTranspose if spec.up == "fixed" else layers.Conv2DTranspose
    return kind(spec.classes, 2 * factor, factor, padding="valid" if spec.padding == "wide" else "same",
                use_bias=False, kernel_initializer=Bilinear(), name=f"{name}_logits")(x)  # fmt: skip


def cut(x, sides, offset, *, name):
    """`sides` positions of a map, from `offset` on."""
    behind = [have - offset - keep for have, keep in zip(x.shape[1:3], sides, strict=True)]
    if not offset and not any(behind):
        return x
    return layers.Cropping2D([(offset, rest) for rest in behind], name=name)(x)
