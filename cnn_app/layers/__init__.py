"""Layers that Keras lacks or runs slowly. Pure Keras 3; tensors are (N, H, W, C)."""

from cnn_app.layers.captions import GreedyWords
from cnn_app.layers.channels import ChannelScale, ChannelShuffle, ChannelSplit, JoinChannels, PadShortcut
from cnn_app.layers.convolution import GroupedConv2D, TableConv2D, block_diagonal, merged_blocks
from cnn_app.layers.initializers import Bilinear, NestedIdentity
from cnn_app.layers.normalization import FusedBatchNormalization, LocalResponseNormalization, plain_lrn
from cnn_app.layers.operations import Computed
from cnn_app.layers.places import AroundPlaces
from cnn_app.layers.pooling import MaxPoolingWithArgmax, MaxUnpooling
from cnn_app.layers.probabilities import LogProbabilities
from cnn_app.layers.quantization import FakeQuant, FakeQuantKernel
from cnn_app.layers.resizing import BilinearResizing, FixedConv2DTranspose, NearestUpSampling2D
from cnn_app.layers.sampling import GaussianDivergence, GaussianSampling
from cnn_app.layers.spectra import Cepstrum, LogMel, MinusMean, StatisticsPooling
from cnn_app.layers.volumes import (
    FrameMax,
    FramesApart,
    FrameStack,
    FramesTogether,
    FramewiseConv3D,
    FramewiseMaxPooling3D,
)
from cnn_app.layers.words import PaddingIsZero, WordsThere, WordTable

__all__ = [
    "AroundPlaces",
    "Bilinear",
    "BilinearResizing",
    "Cepstrum",
    "ChannelScale",
    "ChannelShuffle",
    "ChannelSplit",
    "Computed",
    "FakeQuant",
    "FakeQuantKernel",
    "FixedConv2DTranspose",
    "FrameMax",
    "FrameStack",
    "FramesApart",
    "FramesTogether",
    "FramewiseConv3D",
    "FramewiseMaxPooling3D",
    "FusedBatchNormalization",
    "GaussianDivergence",
    "GaussianSampling",
    "GreedyWords",
    "GroupedConv2D",
    "JoinChannels",
    "LocalResponseNormalization",
    "LogMel",
    "LogProbabilities",
    "MaxPoolingWithArgmax",
    "MaxUnpooling",
    "MinusMean",
    "NearestUpSampling2D",
    "NestedIdentity",
    "PadShortcut",
    "PaddingIsZero",
    "StatisticsPooling",
    "TableConv2D",
    "WordTable",
    "WordsThere",
    "block_diagonal",
    "merged_blocks",
    "plain_lrn",
]
