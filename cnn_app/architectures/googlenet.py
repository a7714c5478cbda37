"""GoogLeNet and BN-Inception: modules of parallel branches, one network with independent columns.

Szegedy et al.,    arXiv:1409.4842, Table 1 (channels), Figure 3 (order), section 5 (auxiliary classifiers).
Ioffe and Szegedy, arXiv:1502.03167, Figure 5: two 3x3 for a 5x5, modules of stride 2 in the place of pools,
                   batch normalization in that of local response normalization.
Hu et al.,         arXiv:1709.01507: squeeze-and-excitation behind each concatenation.

The papers leave open: local response normalization has the numbers of Caffe's GoogLeNet, LRN below. Pools of stride 2
round up as Caffe's do; those beside a convolution keep its size, which differs on odd maps (no image of a multiple of
32 has any). Average pools count the zeros around the map.
The pool projections of BN-Inception's 4c and 4d have 128 channels as in the Caffe models; Figure 5 prints 96.

`torchvision=True` is the network of that library: batch normalization, 3x3 for 5x5, a 2x2 pool in front of 5a, and
auxiliary classifiers that pool to 4x4 whatever the size.
"""

from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.architectures.blocks import classifier, conv, conv_bn, image_input, pad, squeeze_excite
from cnn_app.errors import ModelError
from cnn_app.layers import LocalResponseNormalization
from cnn_app.registry import ImageVariant

# Name, 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool, its projection (0: none, and the module has stride 2)
GOOGLENET = (
    ("3a", 64, 96, 128, 16, 32, "max", 32),
    ("3b", 128, 128, 192, 32, 96, "max", 64),
    ("4a", 192, 96, 208, 16, 48, "max", 64),
    ("4b", 160, 112, 224, 24, 64, "max", 64),
    ("4c", 128, 128, 256, 24, 64, "max", 64),
    ("4d", 112, 144, 288, 32, 64, "max", 64),
    ("4e", 256, 160, 320, 32, 128, "max", 128),
    ("5a", 256, 160, 320, 32, 128, "max", 128),
    ("5b", 384, 192, 384, 48, 128, "max", 128),
)
INCEPTION_BN = (
    ("3a", 64, 64, 64, 64, 96, "average", 32),
    ("3b", 64, 64, 96, 64, 96, "average", 64),
    ("3c", 0, 128, 160, 64, 96, "max", 0),
    ("4a", 224, 64, 96, 96, 128, "average", 128),
    ("4b", 192, 96, 128, 96, 128, "average", 128),
    ("4c", 160, 128, 160, 128, 160, "average", 128),
    ("4d", 96, 128, 192, 160, 192, "average", 128),
    ("4e", 0, 128, 192, 192, 256, "max", 0),
    ("5a", 352, 192, 320, 160, 224, "average", 128),
    ("5b", 352, 192, 320, 192, 224, "max", 128),
)
LRN = {"size": 5, "alpha": 1e-4 / 5, "beta": 0.75, "k": 1.0}  # Caffe divides alpha by the size
AUXILIARY = {"aux1": "inception4a", "aux2": "inception4d"}
AUXILIARY_DROPOUT = 0.7


@dataclass(frozen=True, kw_only=True)
class GoogLeNet(ImageVariant):
    paper: str = "1409.4842"
    year: int = 2014
    modules: tuple[tuple, ...] = GOOGLENET
    pooled: tuple[str, ...] = ("3b", "4e")  # a max pool of stride 2 stands behind these
    factorized: bool = False  # two 3x3 in the place of a 5x5
    batch_norm: bool = False
    conv_bias: bool = False  # also in front of batch normalization, as in Caffe's BN-Inception
    torchvision: bool = False
    aux: bool = False  # outputs are {"logits", "aux1", "aux2"}, else the logits alone
    se_reduction: int | None = None
    bn_epsilon: float = 1e-3
    dropout: float = 0.4

    @property
    def normalized(self) -> bool:
        return self.batch_norm or self.torchvision


VARIANTS = {
    "googlenet": GoogLeNet(),
    "inception_bn": GoogLeNet(paper="1502.03167", year=2015, modules=INCEPTION_BN, pooled=(), factorized=True,
                              batch_norm=True, bn_epsilon=1e-5, dropout=0.0),
}  # fmt: skip


def build(spec: GoogLeNet) -> keras.Model:
    """Pixels -> logits (N, classes), with `aux` a dict of three of them."""
    image, x = image_input(spec)
    maps = features(spec, x)
    logits = classifier(maps[f"inception{spec.modules[-1][0]}"], spec)
    if not spec.aux:
        return keras.Model(image, logits)
    return keras.Model(image, {"logits": logits} | {
        name: auxiliary(maps[place], spec, name=name) for name, place in AUXILIARY.items()
    })  # fmt: skip


def features(spec: GoogLeNet, x) -> dict:
    """Maps by name: `conv1` (stride 2), `conv2` (4), `inception3a` (8), ... to `inception5b` (32)."""
    x = unit(x, 64, 7, spec, stride=2, name="conv1")
    taps = {"conv1": x}
    x = pool(x, name="pool1")
    x = x if spec.normalized else LocalResponseNormalization(name="norm1", **LRN)(x)
    x = unit(x, 64, 1, spec, name="conv2_reduce")
    taps["conv2"] = x = unit(x, 192, 3, spec, name="conv2")
    x = x if spec.normalized else LocalResponseNormalization(name="norm2", **LRN)(x)
    x = pool(x, name="pool2")
    for module, *row in spec.modules:
        taps[f"inception{module}"] = x = inception(x, row, spec, name=f"inception{module}")
        if module in spec.pooled:
            kernel = 2 if spec.torchvision and module == "4e" else 3
            x = pool(x, kernel, name=f"pool{module[0]}")
    return taps


def pool(x, kernel=3, *, name):
    """The maximum at every other position, in front of the modules or between them; x is not negative."""
    x, padding = pad(x, kernel, 2, "ceil", name=name)
    return layers.MaxPooling2D(kernel, 2, padding=padding, name=name)(x)


def inception(x, row, spec: GoogLeNet, *, name):
    """Four branches side by side (1409.4842, Figure 2b)."""
    width1, reduce3, width3, reduce5, width5, kind, project = row
    stride = 1 if project else 2
    branches = [unit(x, width1, 1, spec, name=f"{name}_b1")] if width1 else []
    y = unit(x, reduce3, 1, spec, name=f"{name}_b3_reduce")
    branches.append(unit(y, width3, 3, spec, stride=stride, name=f"{name}_b3"))
    y = unit(x, reduce5, 1, spec, name=f"{name}_b5_reduce")
    if spec.factorized:
        y = unit(y, width5, 3, spec, name=f"{name}_b5_first")
    kernel = 3 if spec.factorized or spec.torchvision else 5
    branches.append(unit(y, width5, kernel, spec, stride=stride, name=f"{name}_b5"))
    if kind == "average":
        y = layers.ZeroPadding2D(1, name=f"{name}_pool_pad")(x)
        y = layers.AveragePooling2D(3, 1, name=f"{name}_pool")(y)
    else:
        y = layers.MaxPooling2D(3, stride, padding="same", name=f"{name}_pool")(x)
    branches.append(unit(y, project, 1, spec, name=f"{name}_project") if project else y)
    x = layers.Concatenate(name=f"{name}_concat")(branches)
    return squeeze_excite(x, spec.se_reduction, name=f"{name}_se") if spec.se_reduction else x


def auxiliary(x, spec: GoogLeNet, *, name):
    """A classifier on an inner map, which sends a gradient there while training (1409.4842, section 5)."""
    if spec.torchvision:
        x = layers.AdaptiveAveragePooling2D(4, name=f"{name}_pool")(x)
    elif min(x.shape[1:3]) < 5:
        raise ModelError(f"auxiliary classifiers need images of at least 79x79, received "
                         f"{spec.image[0]}x{spec.image[1]}; use aux=False or larger ones")  # fmt: skip
    else:
        x = layers.AveragePooling2D(5, 3, name=f"{name}_pool")(x)
    x = layers.Flatten(name=f"{name}_flatten")(unit(x, 128, 1, spec, name=name))
    x = layers.Dense(1024, activation="relu", kernel_initializer="he_normal", name=f"{name}_fc")(x)
    x = layers.Dropout(AUXILIARY_DROPOUT, name=f"{name}_dropout")(x)
    return layers.Dense(spec.classes, name=f"{name}_logits")(x)


def unit(x, width, kernel, spec: GoogLeNet, *, stride=1, name):
    """Convolution, batch normalization where the network has it, ReLU."""
    if spec.normalized:
        return conv_bn(x, width, kernel, stride=stride, bias=spec.conv_bias, epsilon=spec.bn_epsilon, name=name)
    x = conv(x, width, kernel, stride=stride, bias=True, name=name)
    return layers.ReLU(name=f"{name}_relu")(x)
