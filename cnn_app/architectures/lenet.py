"""LeNet-5: by default in the form that is taught today, by its columns as it was published.

LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, Proceedings of the
IEEE 86(11), 1998, Figure 2: 6 and 16 maps of 5x5, 120 and 84 units, tanh; Table I: which maps C3 sees.

By default we differ in three places: C3 sees all six maps, subsampling has no parameters, and the output is linear
where the paper compares F6 with fixed codes by radial basis functions. PAPER undoes them; the codes, which are not
learned, are left out, and F6 is the output. In every form tanh is not stretched to 1.7159 tanh(2/3 x).
`se_reduction` rescales the maps of each convolution behind its tanh.
"""

from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.architectures.blocks import image_input, logits, squeeze_excite
from cnn_app.errors import ModelError
from cnn_app.layers import ChannelScale, TableConv2D
from cnn_app.registry import ImageVariant

SUBSAMPLING = ("average", "trainable")
# Table I: the maps of S2 that each map of C3 sees: three neighbours, four, two and two, all
C3_TABLE = (
    *(tuple(sorted((i + j) % 6 for j in range(3))) for i in range(6)),
    *(tuple(sorted((i + j) % 6 for j in range(4))) for i in range(6)),
    *(tuple(sorted((i + j) % 6 for j in (0, 1, 3, 4))) for i in range(3)),
    tuple(range(6)),
)


@dataclass(frozen=True, kw_only=True)
class LeNet(ImageVariant):
    maps: tuple[int, int, int] = (6, 16, 120)  # C1, C3, C5
    units: int = 84  # F6
    c3_table: bool = False  # connect C3 by Table I
    subsampling: str = "average"  # "trainable": with a coefficient and a bias per map, then tanh
    output: bool = True  # False: without the last fully connected layer, (N, units) come out
    se_reduction: int | None = None


VARIANTS = {"lenet5": LeNet(paper="LeCun et al. 1998", year=1998, image=(32, 32, 1), classes=10)}
PAPER = {"c3_table": True, "subsampling": "trainable", "output": False}  # 60,000 parameters


def build(spec: LeNet) -> keras.Model:
    """Pixels -> logits (N, classes); without `output` the units of F6 (N, units)."""
    if spec.subsampling not in SUBSAMPLING:
        raise ModelError(f"subsampling is one of {', '.join(SUBSAMPLING)}, received {spec.subsampling!r}")
    if spec.c3_table and tuple(spec.maps[:2]) != (6, 16):
        raise ModelError(f"c3_table connects 6 maps with 16; received maps {spec.maps}")
    image, x = image_input(spec)
    x = layers.Flatten(name="flatten")(features(spec, x)["c5"])
    x = layers.Dense(spec.units, activation="tanh", name="f6")(x)
    return keras.Model(image, logits(x, spec) if spec.output else x)


def features(spec: LeNet, x) -> dict:
    """Feature maps by the paper's names: `s2` has stride 2, `s4` and `c5` stride 4."""
    c1, c3, c5 = spec.maps
    s2 = subsample(convolve(x, spec, c1, name="c1"), spec, name="s2")
    s4 = subsample(convolve(s2, spec, c3, table=spec.c3_table, name="c3"), spec, name="s4")
    return {"s2": s2, "s4": s4, "c5": convolve(s4, spec, c5, name="c5")}


def convolve(x, spec: LeNet, maps, *, table=False, name):
    """5x5, tanh."""
    if table:
        x = TableConv2D(C3_TABLE, 5, activation="tanh", name=name)(x)
    else:
        x = layers.Conv2D(maps, 5, activation="tanh", name=name)(x)
    return squeeze_excite(x, spec.se_reduction, name=f"{name}_se") if spec.se_reduction else x


def subsample(x, spec: LeNet, *, name):
    """The mean of 2x2; if trainable scaled and shifted per map, tanh."""
    x = layers.AveragePooling2D(2, name=name)(x)
    if spec.subsampling == "average":
        return x
    return layers.Activation("tanh", name=f"{name}_tanh")(ChannelScale(name=f"{name}_scale")(x))
