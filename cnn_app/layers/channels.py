"""Channels: shuffled, split, joined, padded, scaled."""

import keras
from keras import ops


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
class ChannelSplit(keras.layers.Layer):
    """Channels in `parts` equal parts, in order. One split: TFLite's delegates take no slices of integers."""

    def __init__(self, parts, **base):
        super().__init__(**base)
        self.parts = parts

    def call(self, x):
        return ops.split(x, self.parts, axis=-1)

    def get_config(self):
        return super().get_config() | {"parts": self.parts}


@keras.saving.register_keras_serializable("cnn_app")
class JoinChannels(keras.layers.Concatenate):
    """Two maps behind one another in channels; `last_first` puts the second in front, as some weights expect it."""

    def __init__(self, *, last_first=False, **base):
        super().__init__(**{"axis": -1} | base)
        self.last_first = last_first

    def call(self, inputs):
        return super().call(inputs[::-1] if self.last_first else inputs)

    def get_config(self):
        return super().get_config() | {"last_first": self.last_first}


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


@keras.saving.register_keras_serializable("cnn_app")
class ChannelScale(keras.layers.Layer):
    """coefficient * x + bias, one of each per channel: what LeNet-5 learns of its subsampling."""

    def build(self, shape):
        self.coefficient = self.add_weight(shape=shape[-1:], initializer="ones", name="coefficient")
        self.bias = self.add_weight(shape=shape[-1:], initializer="zeros", name="bias")

    def call(self, x):
        return ops.add(ops.multiply(x, self.coefficient), self.bias)
