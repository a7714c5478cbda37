"""U-Net: a contracting path, and an expansive one that sees the maps of the same size across.

Ronneberger, Fischer, Brox, arXiv:1505.04597, Figure 1: pairs of 3x3 convolutions, 2x2 pools, twice the channels behind
a pool, 2x2 up-convolutions to half of them. Nothing is padded: 572x572 pixels give 388x388 labels, those in the middle.
As in the authors' Caffe network, dropout stands behind the last two stages of the contracting path, in front of the
copy across; unlike there, and as in the figure, an up-convolution has no ReLU. Weights start as section 3 says, but
cut off at two deviations.

By columns: `padding="same"` gives a label for each pixel; `up="upconv"` doubles the map by its nearest neighbours and
convolves 2x2, as the text says, where "deconv" is the transposed convolution of the authors' network; `batch_norm`
(Ioffe, Szegedy, arXiv:1502.03167) stands in front of each ReLU, where convolutions have no bias unless `conv_bias`.
"""

from dataclasses import dataclass
from itertools import count

import keras
from keras import layers

from cnn_app.architectures.blocks import image_input, norm_act
from cnn_app.layers import NearestUpSampling2D
from cnn_app.registry import ImageVariant

PADDINGS = ("valid", "same")
UPS = ("deconv", "upconv")
MAX_DEPTH = 8


@dataclass(frozen=True, kw_only=True)
class UNet(ImageVariant):
    paper: str = "1505.04597"
    year: int = 2015
    task: str = "segmentation"
    image: tuple[int, int, int] = (572, 572, 1)
    min_size: int = 1  # problem() knows which sizes come out even
    classes: int = 2
    dropout: float = 0.5  # behind the last two stages of the contracting path
    width: int = 64  # channels of the first stage; they double with each
    depth: int = 4  # pools
    padding: str = "valid"
    up: str = "deconv"
    batch_norm: bool = False
    conv_bias: bool = False  # in front of batch normalization, too
    bn_epsilon: float = 1e-5

    def problem(self) -> str | None:
        if self.padding not in PADDINGS or self.up not in UPS:
            return (f"takes padding {' or '.join(PADDINGS)} and up {' or '.join(UPS)}, "
                    f"received {self.padding!r} and {self.up!r}")  # fmt: skip
        if not 1 <= self.depth <= MAX_DEPTH or self.width < 1:
            return f"has 1 to {MAX_DEPTH} poolings and a width of at least 1, received {self.depth} and {self.width}"
        for side in self.image[:2]:
            if labels(side, self) is None:
                return (f"with padding {self.padding} and depth {self.depth} comes out even for sides such as "
                        f"{' or '.join(map(str, neighbours(side, self)))}, received {side}")  # fmt: skip
        return super().problem()


VARIANTS = {"unet": UNet()}


def labels(side: int, spec: UNet) -> int | None:
    """How many labels come out along a `side` of pixels; None where a pool or a map does not come out."""
    lost = 4 if spec.padding == "valid" else 0  # by two 3x3 convolutions
    for _ in range(spec.depth):
        side -= lost
        if side < 2 or side % 2:
            return None
        side //= 2
    side -= lost
    for _ in range(spec.depth):
        side = 2 * side - lost
    return side if side >= 1 else None


def neighbours(side: int, spec: UNet) -> list[int]:
    """The next smaller and larger sides that can be built."""
    smaller = next((s for s in range(side - 1, 0, -1) if labels(s, spec)), None)
    larger = next(s for s in count(max(side, 0) + 1) if labels(s, spec))
    return [s for s in (smaller, larger) if s]


def build(spec: UNet) -> keras.Model:
    """Pixels -> logits (N, height, width, classes); without padding of the pixels in the middle."""
    image, x = image_input(spec)
    x = features(spec, x)["up1"]
    return keras.Model(image, layers.Conv2D(spec.classes, 1, kernel_initializer="he_normal", name="logits")(x))


def features(spec: UNet, x) -> dict:
    """Maps by name: `down{k}` and, on the way back, `up{k}` of stride 2**(k-1); between them `bottom`."""
    taps = {}
    for level in range(1, spec.depth + 1):
        x = taps[f"down{level}"] = contract(x, spec, level, name=f"down{level}")
        x = layers.MaxPooling2D(2, name=f"down{level}_pool")(x)
    x = taps["bottom"] = contract(x, spec, spec.depth + 1, name="bottom")
    for level in range(spec.depth, 0, -1):
        x = taps[f"up{level}"] = expand(x, taps[f"down{level}"], spec, level, name=f"up{level}")
    return taps


def contract(x, spec: UNet, level, *, name):
    """Two convolutions, dropout in the last two stages."""
    x = twice(x, spec, level, name=name)
    if spec.dropout and level >= spec.depth:
        x = layers.Dropout(spec.dropout, name=f"{name}_dropout")(x)
    return x


def expand(x, across, spec: UNet, level, *, name):
    """Up-convolution, the middle of the map `across` in front of it, two convolutions."""
    x = up_convolve(x, spec, width_at(level, spec), name=name)
    if across.shape[1:3] != x.shape[1:3]:
        crop = [(have - keep) // 2 for have, keep in zip(across.shape[1:3], x.shape[1:3], strict=True)]
        across = layers.Cropping2D(crop, name=f"{name}_crop")(across)
    return twice(layers.Concatenate(name=f"{name}_concat")([across, x]), spec, level, name=name)


def up_convolve(x, spec: UNet, width, *, name):
    """Twice the height and width."""
    if spec.up == "deconv":  # either way an int8 file runs in one XNNPACK delegate
        return layers.Conv2DTranspose(width, 2, 2, kernel_initializer="he_normal", name=f"{name}_up")(x)
    x = NearestUpSampling2D(2, name=f"{name}_nearest")(x)
    return layers.Conv2D(width, 2, padding="same", kernel_initializer="he_normal", name=f"{name}_up")(x)


def twice(x, spec: UNet, level, *, name):
    """Two times 3x3, batch normalization if asked for, ReLU."""
    for place in ("a", "b"):
        bias = spec.conv_bias or not spec.batch_norm
        x = layers.Conv2D(width_at(level, spec), 3, padding=spec.padding, use_bias=bias,
                          kernel_initializer="he_normal", name=f"{name}_{place}_conv")(x)  # fmt: skip
        if spec.batch_norm:
            x = norm_act(x, epsilon=spec.bn_epsilon, name=f"{name}_{place}")
        else:
            x = layers.ReLU(name=f"{name}_{place}_relu")(x)
    return x


def width_at(level, spec: UNet):
    """Channels of a stage; the bottom is behind the last level."""
    return spec.width * 2 ** (level - 1)
