"""Layers that Keras lacks or runs slowly. Pure Keras 3; tensors are (N, H, W, C)."""

import functools

import keras
from keras import ops

LOWERINGS = ("auto", "blocks", "native")
BLOCK_CHANNELS = 16  # below this many input channels a dense convolution wastes its kernel


@keras.saving.register_keras_serializable("cnn_app")
class GroupedConv2D(keras.layers.Layer):
    """2-D convolution whose input and output channels fall into `groups` independent parts.

    Equal to `keras.layers.Conv2D(groups=...)` with the same kernel (kh, kw, in / groups, filters), and much
    faster on CPU, where Keras compiles that one with XLA. `lowering` says how it is computed:

    "blocks": groups are merged into dense block-diagonal convolutions of at least 16 channels each;
    "native": one grouped convolution, which GPUs, TFLite and ONNX have kernels for;
    "auto": blocks where TensorFlow runs on a CPU, native elsewhere.
    """

    def __init__(self, filters, kernel_size, *, strides=1, padding="same", groups, use_bias=False,
                 kernel_initializer="he_normal", lowering="auto", **base):  # fmt: skip
        super().__init__(**base)
        assert filters % groups == 0 and lowering in LOWERINGS and padding in ("same", "valid")
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides
        self.padding, self.groups, self.use_bias, self.lowering = padding, groups, use_bias, lowering
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, shape):
        width = shape[-1]
        assert width % self.groups == 0, f"{width} channels do not fall into {self.groups} groups"
        self.kernel = self.add_weight(
            shape=(self.kernel_size, self.kernel_size, width // self.groups, self.filters),
            initializer=self.kernel_initializer, name="kernel",
        )  # fmt: skip
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias") if self.use_bias else None

    def call(self, x):
        native = self.lowering == "native" or (self.lowering == "auto" and not _on_tensorflow_cpu())
        y = (self._native if native else self._blocks)(x)
        return y if self.bias is None else ops.add(y, self.bias)

    def _native(self, x):
        if keras.backend.backend() == "tensorflow":
            return _tensorflow_conv(x, self.kernel, self.strides, self.padding)
        return ops.conv(x, self.kernel, self.strides, self.padding, "channels_last")

    def _blocks(self, x):
        blocks = merged_blocks(self.groups, x.shape[-1])
        kernels = block_diagonal(self.kernel, self.groups, blocks)
        parts = ops.split(x, blocks, axis=-1)
        convolve = functools.partial(ops.conv, strides=self.strides, padding=self.padding, data_format="channels_last")
        return ops.concatenate([convolve(part, kernel) for part, kernel in zip(parts, kernels, strict=True)], axis=-1)

    def compute_output_shape(self, shape):
        lost = 0 if self.padding == "same" else self.kernel_size - 1
        sides = (None if side is None else -(-(side - lost) // self.strides) for side in shape[1:-1])
        return (shape[0], *sides, self.filters)

    def get_config(self):
        own = ("filters", "kernel_size", "strides", "padding", "groups", "use_bias", "lowering")
        initializer = keras.initializers.serialize(self.kernel_initializer)
        return super().get_config() | {name: getattr(self, name) for name in own} | {"kernel_initializer": initializer}


def merged_blocks(groups: int, channels: int) -> int:
    """Into how many convolutions `groups` are merged: the most whose blocks have BLOCK_CHANNELS channels or more.

    Measured in benchmarks/grouped_convolution.py: fewer pay for the zeros, more for the calls.
    """
    divisors = (blocks for blocks in range(groups, 0, -1) if groups % blocks == 0)
    return next((blocks for blocks in divisors if channels // blocks >= BLOCK_CHANNELS), 1)


def block_diagonal(kernel, groups: int, blocks: int) -> list:
    """A grouped kernel (kh, kw, in / groups, out) as `blocks` dense ones (kh, kw, in / blocks, out / blocks)."""
    height, width, depth, filters = kernel.shape
    merged = groups // blocks
    if merged == 1:
        return ops.split(kernel, blocks, axis=-1)
    kernel = ops.reshape(kernel, (height, width, 1, depth, blocks, merged, filters // groups))
    diagonal = ops.reshape(ops.eye(merged, dtype=kernel.dtype), (merged, 1, 1, merged, 1))
    dense = ops.reshape(kernel * diagonal, (height, width, merged * depth, filters))
    return ops.split(dense, blocks, axis=-1)


@keras.saving.register_keras_serializable("cnn_app")
class ChannelShuffle(keras.layers.Layer):
    """Channel (i, j) of `groups` x (channels / groups) moves to (j, i) (arXiv:1707.01083, Figure 1c).

    A 4-D transpose of static shape: TFLite's delegates take no more dimensions and no dynamic reshape.
    """

    def __init__(self, groups, **base):
        super().__init__(**base)
        self.groups = groups

    def call(self, x):
        _, height, width, channels = x.shape
        y = ops.reshape(x, (-1, height * width, self.groups, channels // self.groups))
        return ops.reshape(ops.transpose(y, (0, 1, 3, 2)), (-1, height, width, channels))

    def get_config(self):
        return super().get_config() | {"groups": self.groups}


@keras.saving.register_keras_serializable("cnn_app")
class PadShortcut(keras.layers.Layer):
    """The shortcut without parameters: every `stride`-th position, zeros as the new channels (arXiv:1512.03385, 3.3).

    `before` of the new channels come in front of the old ones, the rest behind.
    """

    def __init__(self, filters, stride, *, before=0, **base):
        super().__init__(**base)
        self.filters, self.stride, self.before = filters, stride, before

    def call(self, x):
        x = x[:, :: self.stride, :: self.stride, :]
        behind = self.filters - x.shape[-1] - self.before
        return ops.pad(x, ((0, 0), (0, 0), (0, 0), (self.before, behind)))

    def get_config(self):
        return super().get_config() | {"filters": self.filters, "stride": self.stride, "before": self.before}


@functools.cache
def _on_tensorflow_cpu() -> bool:
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.config.list_physical_devices("GPU")


def _tensorflow_conv(x, kernel, strides, padding):
    """TensorFlow's own grouped convolution; Keras would wrap it in XLA, which TF Serving and tf2onnx refuse."""
    import tensorflow as tf

    return tf.nn.conv2d(x, tf.cast(kernel, x.dtype), strides, padding.upper())
