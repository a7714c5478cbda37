"""LeNet-5 in the form that is taught today.

LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, Proceedings of the
IEEE 86(11), 1998, Figure 2: 6 and 16 maps of 5x5, 120 and 84 units, tanh.

We differ in three places: C3 sees all six maps, subsampling has no parameters, and the output is linear
where the paper has radial basis functions.
"""

from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.architectures.blocks import image_input, logits
from cnn_app.registry import Variant


@dataclass(frozen=True, kw_only=True)
class LeNet(Variant):
    maps: tuple[int, int, int] = (6, 16, 120)  # C1, C3, C5
    units: int = 84  # F6


VARIANTS = {"lenet5": LeNet(paper="LeCun et al. 1998", year=1998, image=(32, 32, 1), classes=10)}


def build(spec: LeNet) -> keras.Model:
    """Pixels -> logits (N, classes)."""
    image, x = image_input(spec)
    x = layers.Flatten(name="flatten")(features(spec, x)["c5"])
    x = layers.Dense(spec.units, activation="tanh", name="f6")(x)
    return keras.Model(image, logits(x, spec))


def features(spec: LeNet, x) -> dict:
    """Feature maps by the paper's names: `s2` has stride 2, `s4` and `c5` stride 4."""
    c1, c3, c5 = spec.maps
    x = layers.Conv2D(c1, 5, activation="tanh", name="c1")(x)
    s2 = layers.AveragePooling2D(2, name="s2")(x)
    x = layers.Conv2D(c3, 5, activation="tanh", name="c3")(s2)
    s4 = layers.AveragePooling2D(2, name="s4")(x)
    return {"s2": s2, "s4": s4, "c5": layers.Conv2D(c5, 5, activation="tanh", name="c5")(s4)}
