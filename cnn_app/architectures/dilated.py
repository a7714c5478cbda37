"""Dilated-8: VGG-16 that keeps its maps at stride 8, and a context module that sees 67 of their positions.

Yu, Koltun, arXiv:1511.07122. Front end (section 4): without the last two pools, the windows behind them dilated by 2
and 4. Context module (Table 1): dilations 1, 1, 2, 4, 8, 16, 1 and a 1x1, in channels that are multiples of the
classes; it starts as the identity (equations 4 and 5), the large one with noise of 1 % between channels of one class.
As in the authors' network for PASCAL VOC nothing is padded but 33 positions around the scores of the front end: 900x900
pixels give 528x528 labels, those in the middle. Scores of stride 8 are enlarged bilinearly, which the authors do
outside of their network.

By columns: `padding="same"` gives a label for each pixel of an image of any size.
"""

from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.architectures.blocks import image_input
from cnn_app.architectures.fcn import cut, fully_connected, trunk_problem
from cnn_app.architectures.vgg import DEPTHS, VGG, convolutions
from cnn_app.layers import NestedIdentity

PADDINGS = ("valid", "same")
DILATIONS = (1, 1, 2, 4, 8, 16, 1, 1)
CONTEXTS = {"basic": (1,) * 8, "large": (2, 2, 4, 8, 16, 32, 32, 1)}  # channels of each layer, in classes
REACH = 33  # positions that the context module sees beside its own
STRIDE, POOLS = 8, 3
NOISE = 0.01


@dataclass(frozen=True, kw_only=True)
class Dilated(VGG):
    paper: str = "1511.07122"
    year: int = 2015
    task: str = "segmentation"
    image: tuple[int, int, int] = (900, 900, 3)
    min_size: int = 1  # problem() knows which sizes come out even
    classes: int = 21
    depths: tuple[int, ...] = DEPTHS[16]
    padding: str = "valid"
    context: str | None = "large"  # basic, large or none

    def problem(self) -> str | None:
        if self.padding not in PADDINGS or self.context not in (None, *CONTEXTS):
            return (f"takes padding {' or '.join(PADDINGS)} and context {', '.join(CONTEXTS)} or none, "
                    f"received {self.padding!r} and {self.context!r}")  # fmt: skip
        if problem := trunk_problem(self):
            return problem
        lost = lost_positions(self)
        for side in self.image[:2] if self.padding == "valid" else ():
            if side < lost + STRIDE or (side - lost) % STRIDE:
                return (f"with padding valid comes out even for sides of {lost} and a multiple of {STRIDE}, such as "
                        f"{max(side - (side - lost) % STRIDE, lost + STRIDE)}, received {side}")  # fmt: skip
        return super().problem()


VARIANTS = {"dilated8": Dilated()}
TRUNK = "vgg", ("stage", "fc")  # whose published weights fit layers whose names begin so


def lost_positions(spec: Dilated) -> int:
    """How many pixels of a side have no label where nothing is padded."""
    lost = sum(2 * depth * 2**stage for stage, depth in enumerate(spec.depths[:-2]))
    return lost + STRIDE * (2 * spec.depths[-2] + 2 * 2 * spec.depths[-1] + 4 * 6)  # stages 4 and 5, fc6


def build(spec: Dilated) -> keras.Model:
    """Pixels -> logits (N, height, width, classes); without padding of the pixels in the middle."""
    image, x = image_input(spec)
    x = layers.Conv2D(spec.classes, 1, kernel_initializer="he_normal", name="logits")(features(spec, x)["fc7"])
    x = context(x, spec) if spec.context else x
    x = layers.UpSampling2D(STRIDE, interpolation="bilinear", name="up1")(x)
    return keras.Model(image, cut(x, spec.image[:2], 0, name="up1_crop") if spec.padding == "same" else x)


def features(spec: Dilated, x) -> dict:
    """Maps by name: `stage{k}`, and `pool{k}` of stride 2**k up to 8; `fc6` and `fc7` of stride 8."""
    taps = {}
    for stage in range(1, len(spec.depths) + 1):
        dilation = 2 if stage == len(spec.depths) else 1
        x = taps[f"stage{stage}"] = convolutions(x, spec, stage, dilation=dilation, padding=spec.padding)
        if stage <= POOLS:
            x = taps[f"pool{stage}"] = layers.MaxPooling2D(2, padding=spec.padding, name=f"stage{stage}_pool")(x)
    return taps | fully_connected(x, spec, dilation=4, padding=spec.padding)


def context(x, spec: Dilated):
    """As many maps as there are classes, each position of which has seen 67 by 67."""
    if spec.padding == "valid":
        x = layers.ZeroPadding2D(REACH, name="context_border")(x)
    multiples = CONTEXTS[spec.context]
    noise = NOISE if max(multiples) > 1 else 0.0
    for place, (multiple, dilation) in enumerate(zip(multiples, DILATIONS, strict=True), start=1):
        last = place == len(DILATIONS)
        x = layers.Conv2D(multiple * spec.classes, 1 if last else 3, padding=spec.padding, dilation_rate=dilation,
                          activation=None if last else "relu", kernel_initializer=NestedIdentity(spec.classes, noise),
                          name=f"context{place}_logits")(x)  # fmt: skip
    return x
