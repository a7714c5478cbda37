"""What a network costs, counted layer by layer.

A multiply-add is one kernel tap for one output element: convolutions (zero padding counted), transposed
convolutions and fully connected layers, also those of an LSTM at each of its steps, without biases, for one image.
Scaling and normalization do not count.
Auxiliary classifiers count if they are outputs of the model: `heads.plain` leaves them out.
"""

import math
from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.layers import FixedConv2DTranspose, GroupedConv2D, TableConv2D

# Layers that apply their whole kernel once for each output position.
KERNEL_PER_POSITION = (layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.DepthwiseConv2D, layers.Dense,
                       GroupedConv2D, TableConv2D)  # fmt: skip


@dataclass(frozen=True)
class Complexity:
    trainable: int  # weights a gradient reaches
    moving_statistics: int  # batch normalization's means and variances
    macs: int


def complexity(model: keras.Model) -> Complexity:
    """Totals of `model`. Frozen layers count as what they are: a weight that could be trained."""
    statistics = sum(
        math.prod(weight.shape)
        for layer in model.layers
        if isinstance(layer, layers.BatchNormalization)
        for weight in (layer.moving_mean, layer.moving_variance)
    )
    fixed = sum(layer.count_params() for layer in model.layers if isinstance(layer, FixedConv2DTranspose))
    trainable = model.count_params() - statistics - fixed
    return Complexity(trainable, statistics, sum(map(multiply_adds, model.layers)))


def multiply_adds(layer: keras.Layer) -> int:
    """Multiply-adds of one layer for one image."""
    if isinstance(layer, layers.Conv2DTranspose):
        return math.prod(layer.kernel.shape) * math.prod(layer.input.shape[1:-1])
    if isinstance(layer, layers.LSTM):
        return layer.input.shape[1] * sum(math.prod(w.shape) for w in (layer.cell.kernel, layer.cell.recurrent_kernel))
    if isinstance(layer, KERNEL_PER_POSITION):
        return math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
    return 0
