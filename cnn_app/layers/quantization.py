"""Layers that compute in float what an integer runtime will: 8-bit values, ranges learned on the way.

As in Jacob et al. (arXiv:1712.05877, section 3): gradients pass the rounding unchanged, and end where a range cuts off.
"""

import keras
from keras import ops

MOMENTUM = 0.95  # of the moving averages


@keras.saving.register_keras_serializable("cnn_app")
class FakeQuant(keras.layers.Layer):
    """Rounds activations to the 256 steps of an int8 tensor, whose range follows what is seen in training.

    Called at `members` tensors that share one scale, as a concatenation's operands do, the range is that of all; each
    call names its member. A range `fixed` as (low, high) is not learned.
    """

    def __init__(self, members=1, *, fixed=None, **base):
        super().__init__(**base)
        self.members, self.fixed = members, fixed

    def build(self, shape):
        self.low, self.high = (
            self.add_weight(shape=(self.members,), initializer="zeros", trainable=False, name=name)
            for name in ("low", "high")
        )

    def call(self, x, member=0, training=None):
        if training and self.trainable and self.fixed is None:
            self._follow(x, member)
        return keras.quantizers.fake_quant_with_min_max_vars(x, *self.range())

    def range(self):
        """(low, high) of the tensors; zero lies within."""
        return self.fixed or (ops.minimum(ops.min(self.low), 0.0), ops.maximum(ops.max(self.high), 1e-6))

    def step(self):
        """What one unit of the int8 values is worth."""
        low, high = self.range()
        return (high - low) / 255

    def _follow(self, x, member):
        """A moving average of each batch's extremes, from the first one on."""
        x = ops.stop_gradient(x)
        first = ops.cast(ops.equal(self.low, self.high), self.low.dtype)
        rate = ops.one_hot(member, self.members) * ops.maximum(first, 1 - MOMENTUM)
        for variable, value in ((self.low, ops.min(x)), (self.high, ops.max(x))):
            variable.assign(variable + rate * (value - variable))

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return super().get_config() | {"members": self.members, "fixed": self.fixed}


class FakeQuantKernel(keras.layers.Wrapper):
    """A convolution or dense `layer` that computes with its kernel in int8 and its bias in int32.

    step() is what one unit of its quantized input is worth. Not for a file: it belongs to the model around it.
    """

    def __init__(self, layer, step, **base):
        super().__init__(layer, **base)
        self.step = step

    def call(self, x):
        held = dict(zip(map(id, self.layer.weights), self.held(), strict=True))
        used = ([held[id(weight)] for weight in weights]
                for weights in (self.layer.trainable_variables, self.layer.non_trainable_variables))  # fmt: skip
        return self.layer.stateless_call(*used, x)[0]

    def held(self):
        """The weights as the file holds them: the kernel in int8, scaled by output channel, the bias in int32."""
        kernel, *bias = map(ops.convert_to_tensor, self.layer.weights)
        depthwise = isinstance(self.layer, keras.layers.DepthwiseConv2D)  # (kh, kw, channels, multiplier)
        by_channel = ops.reshape(kernel, (*kernel.shape[:2], -1)) if depthwise else kernel
        largest = ops.max(ops.abs(by_channel), axis=list(range(len(by_channel.shape) - 1)))
        largest = ops.maximum(ops.stop_gradient(largest), 1e-12)
        rounded = keras.quantizers.fake_quant_with_min_max_vars(
            by_channel, -largest, largest, narrow_range=True, axis=-1
        )
        unit = self.step() * largest / 127
        on_grid = [value + ops.stop_gradient(ops.round(value / unit) * unit - value) for value in bias]
        return [ops.reshape(rounded, kernel.shape), *on_grid]

    def compute_output_shape(self, shape):
        return self.layer.compute_output_shape(shape)
