"""Layers that Keras lacks or runs slowly. Pure Keras 3; tensors are (N, H, W, C)."""

from cnn_app.layers.channels import ChannelScale, ChannelShuffle, ChannelSplit, JoinChannels, PadShortcut
from cnn_app.layers.convolution import GroupedConv2D, TableConv2D, block_diagonal, merged_blocks
from cnn_app.layers.normalization import FusedBatchNormalization, LocalResponseNormalization, plain_lrn
from cnn_app.layers.places import AroundPlaces
from cnn_app.layers.quantization import FakeQuant, FakeQuantKernel
from cnn_app.layers.resizing import NearestUpSampling2D
from cnn_app.layers.words import PaddingIsZero, WordTable

__all__ = [
    "AroundPlaces",
    "ChannelScale",
    "ChannelShuffle",
    "ChannelSplit",
    "FakeQuant",
    "FakeQuantKernel",
    "FusedBatchNormalization",
    "GroupedConv2D",
    "JoinChannels",
    "LocalResponseNormalization",
    "NearestUpSampling2D",
    "PadShortcut",
    "PaddingIsZero",
    "TableConv2D",
    "WordTable",
    "block_diagonal",
    "merged_blocks",
    "plain_lrn",
]
