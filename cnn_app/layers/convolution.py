"""Convolutions that Keras lacks or runs slowly."""

import functools

import keras
from keras import ops

LOWERINGS = ("auto", "blocks", "native")
BLOCK_CHANNELS = 16  # below this many input channels a dense convolution wastes its kernel


@keras.saving.register_keras_serializable("cnn_app")
class GroupedConv2D(keras.layers.Layer):
    """2-D convolution whose input and output channels fall into `groups` independent parts.

    Equal to `keras.layers.Conv2D(groups=...)` with the same kernel (kh, kw, in / groups, filters), and much
    faster on a CPU, where Keras compiles that one with XLA. `lowering` says how it is computed:

    "native": one grouped convolution, which GPUs, oneDNN on CPUs, TFLite and ONNX have kernels for;
    "blocks": groups merged into dense block-diagonal convolutions of at least 16 channels each;
    "auto": native, but blocks where this TensorFlow has no native kernel with gradients.
    """

    def __init__(self, filters, kernel_size, *, strides=1, padding="same", dilation=1, groups, use_bias=False,
                 kernel_initializer="he_normal", lowering="auto", **base):  # fmt: skip
        super().__init__(**base)
        assert filters % groups == 0 and lowering in LOWERINGS and padding in ("same", "valid")
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides
        self.padding, self.dilation, self.groups = padding, dilation, groups
        self.use_bias, self.lowering = use_bias, lowering
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
        native = self.lowering == "native" or (self.lowering == "auto" and _has_native_kernels())
        y = (self._native if native else self._blocks)(x)
        # Not added: TensorFlow would make one operator of both, which has no grouped kernel on CPUs.
        return y if self.bias is None else ops.subtract(y, ops.multiply(self.bias, -1.0))

    def _native(self, x):
        if keras.backend.backend() == "tensorflow":
            return _tensorflow_conv(x, self.kernel, self.strides, self.padding, self.dilation)
        return ops.conv(x, self.kernel, self.strides, self.padding, "channels_last", self.dilation)

    def _blocks(self, x):
        blocks = merged_blocks(self.groups, x.shape[-1])
        kernels = block_diagonal(self.kernel, self.groups, blocks)
        parts = ops.split(x, blocks, axis=-1)
        convolve = functools.partial(ops.conv, strides=self.strides, padding=self.padding, data_format="channels_last",
                                     dilation_rate=self.dilation)  # fmt: skip
        return ops.concatenate([convolve(part, kernel) for part, kernel in zip(parts, kernels, strict=True)], axis=-1)

    def compute_output_shape(self, shape):
        lost = 0 if self.padding == "same" else self.dilation * (self.kernel_size - 1)
        sides = (None if side is None else -(-(side - lost) // self.strides) for side in shape[1:-1])
        return (shape[0], *sides, self.filters)

    def get_config(self):
        own = ("filters", "kernel_size", "strides", "padding", "dilation", "groups", "use_bias", "lowering")
        initializer = keras.initializers.serialize(self.kernel_initializer)
        return super().get_config() | {name: getattr(self, name) for name in own} | {"kernel_initializer": initializer}


def merged_blocks(groups: int, channels: int) -> int:
    """Into how many convolutions `groups` are merged: the most whose blocks have BLOCK_CHANNELS channels or more.

    Measured in benchmarks/grouped_conv.py: fewer pay for the zeros, more for the calls.
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
class TableConv2D(keras.layers.Layer):
    """Square convolution, stride 1, nothing padded, whose output map i sees only the input maps `table[i]`.

    Only what is connected is a weight: the kernel is (kh, kw, connections), in the order of the table.
    """

    def __init__(self, table, kernel_size, *, activation=None, **base):
        super().__init__(**base)
        self.table = tuple(tuple(row) for row in table)
        self.kernel_size, self.strides, self.padding = kernel_size, 1, "valid"
        self.activation = keras.activations.get(activation)

    def build(self, shape):
        maps, filters = shape[-1], len(self.table)
        assert all(0 <= i < maps for row in self.table for i in row), f"the table wants more than {maps} maps"
        self.places = [i * filters + o for o, row in enumerate(self.table) for i in row]  # in a dense kernel

        def connected(shape, dtype=None):
            """Drawn as for the dense kernel."""
            dense = keras.initializers.GlorotUniform()((*shape[:2], maps, filters), dtype)
            return ops.take(ops.reshape(dense, (*shape[:2], -1)), self.places, axis=-1)

        size = self.kernel_size
        self.kernel = self.add_weight(shape=(size, size, len(self.places)), initializer=connected, name="kernel")
        self.bias = self.add_weight(shape=(filters,), initializer="zeros", name="bias")

    def call(self, x):
        maps, filters = x.shape[-1], len(self.table)
        spread = ops.one_hot(self.places, maps * filters, dtype=self.kernel.dtype)
        dense = ops.reshape(ops.matmul(self.kernel, spread), (self.kernel_size, self.kernel_size, maps, filters))
        return self.activation(ops.add(ops.conv(x, dense, 1, "valid", "channels_last"), self.bias))

    def compute_output_shape(self, shape):
        sides = (None if side is None else side - self.kernel_size + 1 for side in shape[1:-1])
        return (shape[0], *sides, len(self.table))

    def get_config(self):
        own = {"table": self.table, "kernel_size": self.kernel_size}
        return super().get_config() | own | {"activation": keras.activations.serialize(self.activation)}


@functools.cache
def _has_native_kernels() -> bool:
    """Whether grouped convolutions run here, forward and backward: TensorFlow's CPU kernels without oneDNN refuse."""
    if keras.backend.backend() != "tensorflow":
        return True
    import tensorflow as tf

    with tf.init_scope():
        kernel, gradient = tf.ones((3, 3, 2, 8)), tf.ones((1, 5, 5, 8))
        try:
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=(1, 5, 5, 4), filter=kernel, out_backprop=gradient, strides=(1, 1, 1, 1), padding="SAME"
            )
        except tf.errors.OpError:
            return False
    return True


def _tensorflow_conv(x, kernel, strides, padding, dilation):
    """TensorFlow's own grouped convolution; Keras would wrap it in XLA, which TF Serving and tf2onnx refuse."""
    import tensorflow as tf

    return tf.nn.conv2d(x, tf.cast(kernel, x.dtype), strides, padding.upper(), dilations=dilation)
