"""AlexNet and ZFNet: five convolutions, three fully connected layers.

Krizhevsky, Sutskever, Hinton: ImageNet classification with deep convolutional neural networks, NIPS 2012, Figure 2;
local response normalization in section 3.3, overlapping pools in 3.4, dropout in 4.2.
Zeiler, Fergus, arXiv:1311.2901, Figure 3: a finer first convolution, a second one of stride 2.

`alexnet` is one tower that sees all channels where the paper splits conv2, conv4 and conv5 over two GPUs, and it
pools in front of the normalization; CAFFE gives the two halves in the paper's order. The paper prints 224 pixels, its
55x55 maps need 227, and its biases of 1 start at 0 here. ONE_WEIRD_TRICK is the narrower tower of Krizhevsky,
arXiv:1404.5997, as torchvision has it. `zfnet` has 512, 1024 and 512 maps in conv3 to conv5, the better one of the
paper's Table 2; ZFNET_384 is the network of Figure 3. Both normalize as `alexnet` does.
Pools round up, as in Caffe; the zeros that this appends are exact, for what is pooled is never negative.
`se_reduction` rescales the maps of each convolution behind its ReLU.
"""

from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.architectures.blocks import image_input, logits, squeeze_excite
from cnn_app.errors import ModelError
from cnn_app.layers import GroupedConv2D, LocalResponseNormalization
from cnn_app.registry import ImageVariant


@dataclass(frozen=True, kw_only=True)
class AlexNet(ImageVariant):
    paper: str = "Krizhevsky et al. 2012"
    year: int = 2012
    image: tuple[int, int, int] = (227, 227, 3)
    min_size: int = 39
    dropout: float = 0.5  # behind fc6 and fc7
    channels: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)
    first: tuple[int, int, int] = (11, 4, 0)  # conv1: kernel, stride, zeros on every side
    second: tuple[int, int, int] = (5, 1, 2)  # conv2
    groups: int = 1  # of conv2, conv4 and conv5
    units: int = 4096  # fc6, fc7
    lrn: tuple[int, float, float, float] | tuple[()] = (5, 1e-4, 0.75, 2.0)  # size, alpha, beta, k; () for none
    norm_first: bool = False  # normalize in front of pool1 and pool2, not behind them
    pool_ceil: bool = True  # False: pools drop what does not fill a window, as in torchvision
    se_reduction: int | None = None


CAFFE = {"groups": 2, "norm_first": True, "lrn": (5, 1e-4 / 5, 0.75, 1.0)}  # Caffe divides alpha by the size
ONE_WEIRD_TRICK = {"channels": (64, 192, 384, 256, 256), "first": (11, 4, 2), "lrn": (), "pool_ceil": False,
                   "image": (224, 224, 3), "min_size": 63}  # fmt: skip
ZFNET_384 = {"channels": (96, 256, 384, 384, 256)}
VARIANTS = {
    "alexnet": AlexNet(),
    "zfnet": AlexNet(paper="1311.2901", year=2013, image=(224, 224, 3), min_size=47, first=(7, 2, 1), second=(5, 2, 0),
                     channels=(96, 256, 512, 1024, 512)),
}  # fmt: skip


def build(spec: AlexNet) -> keras.Model:
    """Pixels -> logits (N, classes)."""
    image, x = image_input(spec)
    x = layers.Flatten(name="flatten")(features(spec, x)["pool5"])
    x = layers.Dense(spec.units, activation="relu", kernel_initializer="he_uniform", name="fc6")(x)
    if spec.dropout:
        x = layers.Dropout(spec.dropout, name="fc6_dropout")(x)
    x = layers.Dense(spec.units, activation="relu", kernel_initializer="he_uniform", name="fc7")(x)
    return keras.Model(image, logits(x, spec))


def features(spec: AlexNet, x) -> dict:
    """Maps by name: `conv1` to `conv5` behind their ReLU, `pool1`, `pool2` (normalized) and `pool5`."""
    windows = (spec.first, spec.second, (3, 1, 1), (3, 1, 1), (3, 1, 1))
    taps = {}
    for place, (width, window) in enumerate(zip(spec.channels, windows, strict=True), start=1):
        groups = spec.groups if place in (2, 4, 5) else 1
        x = taps[f"conv{place}"] = conv_relu(x, spec, width, window, groups, name=f"conv{place}")
        if place in (1, 2, 5):
            norm = place < 5 and bool(spec.lrn)
            x = normalize(x, spec.lrn, name=f"norm{place}") if norm and spec.norm_first else x
            x = pool(x, spec.pool_ceil, name=f"pool{place}")
            x = normalize(x, spec.lrn, name=f"norm{place}") if norm and not spec.norm_first else x
            taps[f"pool{place}"] = x
    return taps


def conv_relu(x, spec: AlexNet, width, window, groups, *, name):
    """Convolution with bias, zeros on every side, ReLU."""
    kernel, stride, zeros = window
    same = stride == 1 and 2 * zeros == kernel - 1
    padding = "same" if same else "valid"
    if zeros and not same:
        x = layers.ZeroPadding2D(zeros, name=f"{name}_pad")(x)
    _fits(x, 1 if same else kernel, name)
    if groups > 1:
        if x.shape[-1] % groups or width % groups:
            raise ModelError(f"{name}: {x.shape[-1]} and {width} channels do not fall into {groups} groups")
        x = GroupedConv2D(width, kernel, strides=stride, padding=padding, groups=groups, use_bias=True, name=name)(x)
    else:
        x = layers.Conv2D(width, kernel, stride, padding, kernel_initializer="he_normal", name=name)(x)
    x = layers.ReLU(name=f"{name}_relu")(x)
    return squeeze_excite(x, spec.se_reduction, name=f"{name}_se") if spec.se_reduction else x


def normalize(x, lrn, *, name):
    """Local response normalization with `lrn` = (size, alpha, beta, k)."""
    size, alpha, beta, k = lrn
    return LocalResponseNormalization(size, alpha=alpha, beta=beta, k=k, name=name)(x)


def pool(x, ceil, *, name):
    """The maximum of 3x3 at every other position; `ceil` appends zeros to even sides, so that nothing is dropped."""
    height, width = (1 - side % 2 if ceil else 0 for side in x.shape[1:3])
    if height or width:
        x = layers.ZeroPadding2D(((0, height), (0, width)), name=f"{name}_pad")(x)
    _fits(x, 3, name)
    return layers.MaxPooling2D(3, 2, name=name)(x)


def _fits(x, kernel, name):
    """Columns may ask for more than the row's `min_size` promises."""
    if min(x.shape[1:3]) < kernel:
        received = "x".join(map(str, x.shape[1:3]))
        raise ModelError(f"{name} needs maps of at least {kernel}x{kernel}, received {received}; take larger images")
