"""DeconvNet: VGG-16, and the way back through its pools' switches.

Noh, Hong, Han, arXiv:1505.04366, Table 2: a 7x7 convolution makes one position of 224x224 pixels, a 7x7 transposed
one makes 7x7 of it; then for each stage backwards, values are put back to where the maxima were and go through 3x3
transposed convolutions. Batch normalization, with the biases that it makes redundant, and ReLU stand behind each, as
in the authors' Caffe network. The paper's training in two stages and its region proposals are no part of the network.

By columns: `padding="same"` pads the 7x7 ones, so that any multiple of 32 is a size.
"""

from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.architectures.blocks import image_input, norm_act
from cnn_app.architectures.fcn import trunk_problem
from cnn_app.architectures.vgg import DEPTHS, VGG, convolutions, scaled
from cnn_app.layers import MaxPoolingWithArgmax, MaxUnpooling

PADDINGS = ("valid", "same")
STRIDE = 32
KERNEL = 7  # of fc6 and of its way back


@dataclass(frozen=True, kw_only=True)
class DeconvNet(VGG):
    paper: str = "1505.04366"
    year: int = 2015
    task: str = "segmentation"
    min_size: int = 1  # problem() knows which sizes come out even
    classes: int = 21
    dropout: float = 0.0  # behind fc6 and fc7
    depths: tuple[int, ...] = DEPTHS[16]
    batch_norm: bool = True
    padding: str = "valid"

    def problem(self) -> str | None:
        if self.padding not in PADDINGS:
            return f"takes padding {' or '.join(PADDINGS)}, received {self.padding!r}"
        if problem := trunk_problem(self):
            return problem
        smallest = STRIDE * (KERNEL if self.padding == "valid" else 1)
        for side in self.image[:2]:
            if side < smallest or side % STRIDE:
                return (f"with padding {self.padding} takes sides that are multiples of {STRIDE} from {smallest} on, "
                        f"such as {max(side - side % STRIDE, smallest)}, received {side}")  # fmt: skip
        return super().problem()


VARIANTS = {"deconvnet": DeconvNet()}
TRUNK = "vgg", ("stage",)  # whose published weights fit layers whose names begin so


def build(spec: DeconvNet) -> keras.Model:
    """Pixels -> logits (N, height, width, classes)."""
    image, x = image_input(spec)
    x = features(spec, x)["up1"]
    return keras.Model(image, layers.Conv2D(spec.classes, 1, kernel_initializer="he_normal", name="logits")(x))


def features(spec: DeconvNet, x) -> dict:
    """Maps by name: `stage{k}` and, on the way back, `up{k}` of stride 2**(k-1); `pool{k}` of 2**k; `fc6`, `fc7`."""
    taps, switches = {}, {}
    stages = range(1, len(spec.depths) + 1)
    for stage in stages:
        x = taps[f"stage{stage}"] = convolutions(x, spec, stage)
        x, switches[stage] = MaxPoolingWithArgmax(name=f"stage{stage}_pool")(x)
        taps[f"pool{stage}"] = x
    units = scaled(spec.units, spec)
    for name, kernel in (("fc6", KERNEL), ("fc7", 1)):
        x = layers.Conv2D(units, kernel, padding=spec.padding, kernel_initializer="he_normal", name=name)(x)
        x = behind(x, spec, name=name)
        x = taps[name] = layers.Dropout(spec.dropout, name=f"{name}_dropout")(x) if spec.dropout else x
    x = transposed(x, spec, scaled(spec.channels[-1], spec), KERNEL, padding=spec.padding, name="fc6_up")
    for stage in reversed(stages):
        x = MaxUnpooling(name=f"up{stage}_unpool")([x, switches[stage]])
        x = taps[f"up{stage}"] = way_back(x, spec, stage)
    return taps


def way_back(x, spec: DeconvNet, stage):
    """The convolutions of a stage in their other direction: the last one makes the channels of the stage before."""
    depth, before = spec.depths[stage - 1], spec.channels[max(stage - 2, 0)]
    for unit in range(1, depth + 1):
        width = before if unit == depth else spec.channels[stage - 1]
        x = transposed(x, spec, scaled(width, spec), 3, padding="same", name=f"up{stage}_unit{unit}")
    return x


def transposed(x, spec: DeconvNet, width, kernel, *, padding, name):
    """Transposed convolution with bias, batch normalization, ReLU."""
    x = layers.Conv2DTranspose(width, kernel, padding=padding, kernel_initializer="he_normal", name=f"{name}_conv")(x)
    return behind(x, spec, name=name)


def behind(x, spec: DeconvNet, *, name):
    """Batch normalization if asked for, ReLU."""
    return norm_act(x, epsilon=spec.bn_epsilon, name=name) if spec.batch_norm else layers.ReLU(name=f"{name}_relu")(x)
