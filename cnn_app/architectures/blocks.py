"""Layer vocabulary shared by the families. Tensors are (N, H, W, C) throughout."""

import math

import keras
from keras import layers

from cnn_app.errors import ModelError
from cnn_app.layers import FusedBatchNormalization, GroupedConv2D
from cnn_app.registry import ImageVariant

BN_MOMENTUM = 0.9  # the Caffe and PyTorch default; Keras's 0.99 lags behind in short runs


def image_input(spec: ImageVariant):
    """Pixels in [0, 255] of shape (N, *spec.image), of clips (N, frames, *spec.image), and the same scaled to
    (pixel - mean) / std."""
    pixels = keras.Input((*spec.leading, *spec.image), name=spec.input)
    mean, std = spec.pixel_mean, spec.pixel_std
    if isinstance(mean, tuple) or isinstance(std, tuple):
        mean = mean if isinstance(mean, tuple) else (mean,) * spec.image[2]
        std = std if isinstance(std, tuple) else (std,) * spec.image[2]
        scale, offset = [1 / s for s in std], [-m / s for m, s in zip(mean, std, strict=True)]
    else:
        scale, offset = 1 / std, -mean / std
    return pixels, layers.Rescaling(scale, offset, name="rescale")(pixels)


def token_input(spec):
    """Ids of words, int32 (N, spec.length); 0 is the padding."""
    return keras.Input((spec.length,), dtype="int32", name="tokens")


def classifier(x, spec: ImageVariant):
    """Global average pooling, dropout, and logits of shape (N, spec.classes)."""
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return logits(x, spec)


def logits(x, spec: ImageVariant):
    """The last fully connected layer on (N, C), behind `spec.dropout`."""
    if spec.dropout:
        x = layers.Dropout(spec.dropout, name="dropout")(x)
    return layers.Dense(spec.classes, name="logits")(x)


def atrous(strides, output_stride, start=1):
    """(stride, dilation, dilation behind) of each window, no map coarser than `output_stride` pixels (None: free).

    A stride that would be too much becomes 1 and dilates every window behind it, which therefore sees what it saw
    (arXiv:1706.05587, section 3.1). `start` is the stride in front of the first window.
    """
    reached, plan = [start], []
    dilation = 1
    for stride in strides:
        held = output_stride is not None and reached[-1] * stride > output_stride
        plan.append((1 if held else stride, dilation, dilation * stride if held else dilation))
        dilation = plan[-1][2]
        reached.append(reached[-1] * plan[-1][0])
    if output_stride not in (None, reached[-1]):
        possible = sorted({start * math.prod(strides[:count]) for count in range(len(strides) + 1)})
        raise ModelError(f"output_stride is one of {', '.join(map(str, possible))}, received {output_stride}")
    return plan


def pad(x, kernel, stride, padding, *, name, movable=False):
    """What a strided window needs in front, and the Keras padding to give it.

    "symmetric" is Caffe's and PyTorch's kernel // 2 on every side; "same" is TensorFlow's, which puts the
    odd one at the bottom right; "valid" pads nothing; "ceil" is a pool's that rounds its size up instead of padding.
    All but "valid" differ only where stride > 1; there, and where a stride is `movable` to, the zeros are a layer of
    their own, so that weights learned with another kind can have theirs. In front of a maximum zeros are exact behind
    a ReLU only.
    """
    if padding == "valid":
        return x, padding
    if kernel == 1 or (stride == 1 and not movable):
        return x, "same"
    sides = tuple(window_padding(size, kernel, stride, padding) for size in x.shape[1:3])
    return layers.ZeroPadding2D(sides, name=f"{name}_pad")(x), "valid"


def window_padding(size: int, kernel: int, stride: int, padding: str) -> tuple[int, int]:
    """Zeros before and behind `size` positions.

    "same" and "symmetric" leave ceil(size / stride) of them; "ceil" only has a last window that begins inside reach
    over the end, as Caffe's and PyTorch's pools do in their ceil mode.
    """
    if padding == "symmetric":
        return kernel // 2, kernel // 2
    if padding == "ceil":
        windows = math.ceil((size - kernel) / stride) + 1
        windows -= (windows - 1) * stride >= size
        return 0, max((windows - 1) * stride + kernel - size, 0)
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def conv(x, width, kernel=1, *, stride=1, dilation=1, groups=1, padding="symmetric", bias=False, movable=False, name):
    """Convolution, grouped where `groups` > 1; see `pad` for `movable`."""
    x, keras_padding = pad(x, dilation * (kernel - 1) + 1, stride, padding, name=name, movable=movable)
    if groups > 1:
        return GroupedConv2D(width, kernel, strides=stride, padding=keras_padding, dilation=dilation, groups=groups,
                             use_bias=bias, name=f"{name}_conv")(x)  # fmt: skip
    return layers.Conv2D(width, kernel, stride, padding=keras_padding, dilation_rate=dilation, use_bias=bias,
                         kernel_initializer="he_normal", name=f"{name}_conv")(x)  # fmt: skip


def norm_act(x, act="relu", *, epsilon=1e-5, name):
    """Batch normalization, then `act` (None: linear)."""
    x = FusedBatchNormalization(momentum=BN_MOMENTUM, epsilon=epsilon, name=f"{name}_bn")(x)
    return layers.Activation(act, name=f"{name}_{act}")(x) if act else x


def conv_bn(x, width, kernel=1, *, stride=1, dilation=1, groups=1, act="relu", padding="symmetric", bias=False,
            epsilon=1e-5, movable=False, name):  # fmt: skip
    """Convolution, batch normalization, then `act` (None: linear)."""
    x = conv(x, width, kernel, stride=stride, dilation=dilation, groups=groups, padding=padding, bias=bias,
             movable=movable, name=name)  # fmt: skip
    return norm_act(x, act, epsilon=epsilon, name=name)


def depthwise_bn(x, kernel=3, *, stride=1, dilation=1, act="relu", padding="symmetric", epsilon=1e-5, name):
    """Depthwise convolution without bias, batch normalization, then `act` (None: linear)."""
    x, keras_padding = pad(x, kernel, stride, padding, name=name)
    x = layers.DepthwiseConv2D(kernel, stride, padding=keras_padding, dilation_rate=dilation, use_bias=False,
                               depthwise_initializer="he_normal", name=f"{name}_conv")(x)  # fmt: skip
    return norm_act(x, act, epsilon=epsilon, name=name)


def squeeze_excite(x, reduction, *, name):
    """Rescale channels by a gate seen through global pooling (arXiv:1709.01507, Figure 2)."""
    width = x.shape[-1]
    gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
    gate = layers.Conv2D(max(1, width // reduction), 1, activation="relu", name=f"{name}_reduce")(gate)
    gate = layers.Conv2D(width, 1, activation="sigmoid", name=f"{name}_expand")(gate)
    return layers.Multiply(name=f"{name}_scale")([x, gate])


def divisible(width: float, divisor: int = 8) -> int:
    """`width` rounded to a multiple of `divisor`, never below 90 % of it (arXiv:1801.04381's code)."""
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded
