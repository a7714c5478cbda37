"""C3D: 3x3x3 convolutions over time and space, with pools that halve both; the first of them halves space alone.

Tran et al., arXiv:1412.0767, section 3.3 and Figure 3: `c3d` has eight convolutions, five pools and two layers of 4096
units on 16 frames of 112x112, and 487 classes of Sports-1M. In the paper the mean clip is subtracted, here one number.
The last pool rounds its size up, as in the paper's Caffe, whose fc6 sees 4x4 positions: 8192 numbers.

- `c3d_small` is ours: four convolutions with batch normalization and an eighth of the channels, on 8 frames of 32x32.
"""

from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.architectures.blocks import image_input, logits, norm_act
from cnn_app.layers import FramewiseConv3D, FramewiseMaxPooling3D
from cnn_app.registry import ClipVariant


@dataclass(frozen=True, kw_only=True)
class C3D(ClipVariant):
    paper: str = "1412.0767"
    year: int = 2015
    image: tuple[int, int, int] = (112, 112, 3)
    min_size: int = 8
    dropout: float = 0.5  # behind fc6 and fc7
    channels: tuple[int, ...] = (64, 128, 256, 512, 512)  # of each stage, which ends with a pool
    depths: tuple[int, ...] = (1, 1, 2, 2, 2)  # convolutions in each stage
    units: int = 4096  # fc6, fc7
    width: float = 1.0  # multiplies all channels and units
    batch_norm: bool = False
    classes: int = 487

    def problem(self) -> str | None:
        if len(self.channels) != len(self.depths) or not self.depths or min(*self.channels, *self.depths) < 1:
            return (f"needs channels and depths of one or more for each stage, received {list(self.channels)} and "
                    f"{list(self.depths)}")  # fmt: skip
        return super().problem()


VARIANTS = {
    "c3d": C3D(),
    "c3d_small": C3D(image=(32, 32, 3), frames=8, channels=(8, 16, 32, 64), depths=(1, 1, 1, 1), units=128,
                     batch_norm=True, dropout=0.2, classes=8),
}  # fmt: skip


def build(spec: C3D) -> keras.Model:
    """Clips (N, frames, H, W, C) of pixels -> logits (N, classes)."""
    clip, x = image_input(spec)
    x = layers.Flatten(name="flatten")(features(spec, x)[f"pool{len(spec.depths)}"])
    units = scaled(spec.units, spec)
    x = _dense(x, units, "fc6")
    x = layers.Dropout(spec.dropout, name="fc6_dropout")(x) if spec.dropout else x
    return keras.Model(clip, logits(_dense(x, units, "fc7"), spec))


def features(spec: C3D, x) -> dict:
    """Maps by name, (N, T, H, W, C): `stage{k}` of stride 2**(k-1) in space, `pool{k}` of stride 2**k."""
    taps = {}
    rows = zip(spec.channels, spec.depths, strict=True)
    for stage, (channels, depth) in enumerate(rows, start=1):
        for unit in range(1, depth + 1):
            x = _conv(x, spec, scaled(channels, spec), f"stage{stage}_unit{unit}")
        taps[f"stage{stage}"] = x
        time = 1 if stage == 1 else min(2, x.shape[1])
        x = taps[f"pool{stage}"] = FramewiseMaxPooling3D((time, 2, 2), name=f"stage{stage}_pool")(x)
    return taps


def _conv(x, spec: C3D, width: int, name: str):
    """3x3x3 with bias, or batch normalization, and ReLU."""
    x = FramewiseConv3D(width, 3, use_bias=not spec.batch_norm, kernel_initializer="he_normal",
                      name=f"{name}_conv")(x)  # fmt: skip
    return norm_act(x, name=name) if spec.batch_norm else layers.ReLU(name=f"{name}_relu")(x)


def _dense(x, units: int, name: str):
    return layers.Dense(units, activation="relu", kernel_initializer="he_uniform", name=name)(x)


def scaled(channels: int, spec: C3D) -> int:
    """`channels` times the width multiplier."""
    return max(1, round(channels * spec.width))
