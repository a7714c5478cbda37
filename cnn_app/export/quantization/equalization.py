"""Channels of one tensor share 256 steps, and a small one gets few of them: each is made as large as its reader allows.

What one kernel gives times g, what the next one reads of it divided by g, is the same function behind a ReLU: that is
cross-layer equalization (Nagel et al., arXiv:1906.04721, section 4.1). There g evens the ranges of kernels that have
one scale each. Here kernels have a scale for each output channel, so what is evened are activations, and g weighs the
noise of a channel's steps against that of the kernel that reads it. The range of a tensor never grows, so ReLU6 can
stay, which there becomes ReLU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from cnn_app.export import graph
from cnn_app.export.quantization import simulation
from cnn_app.layers import GroupedConv2D
from cnn_app.tensors import Arrays

RECORDS = 256
HOMOGENEOUS = ("relu", "relu6", "linear")
CHANNELWISE = (layers.ZeroPadding2D, layers.MaxPooling2D, layers.Cropping2D, layers.GlobalAveragePooling2D)
MOST = 1e3  # times
HEADROOM = 2  # of a channel that is enlarged: what is larger than on these records would be cut off


@dataclass(frozen=True)
class Pair:
    """What `first` gives, `reader` alone reads; `seen` is the layer whose output is rounded between them."""

    first: keras.Layer
    seen: keras.Layer
    reader: keras.Layer


@dataclass(frozen=True)
class Seen:
    """Of each channel of a pair's tensor: the ends of its range, and the mean square."""

    low: np.ndarray
    high: np.ndarray
    power: np.ndarray


def equalize(plain: keras.Model, records: Arrays) -> None:
    """Change the weights of `plain`, as `simulation.folded` makes it; on the records it stays the same function."""
    pairs = list(_pairs(plain))
    for pair, seen in zip(pairs, _statistics(plain, pairs, records), strict=True):
        factors = _factors(pair.reader, seen)
        kernel, *bias = pair.first.get_weights()
        depthwise = isinstance(pair.first, layers.DepthwiseConv2D)
        by_channel = factors.reshape(kernel.shape[2:]) if depthwise else factors
        pair.first.set_weights([kernel * by_channel, *(value * factors for value in bias)])
        kernel, *bias = pair.reader.get_weights()
        pair.reader.set_weights([kernel / _of_inputs(pair.reader, factors), *bias])


def _pairs(plain: keras.Model) -> Iterator[Pair]:
    behind = graph.readers(plain)
    for first in plain.layers:
        if not isinstance(first, simulation.KERNELS):
            continue
        seen, after = first, behind[first.name]
        if len(after) == 1 and simulation.activation(after[0]) in HOMOGENEOUS and not after[0].weights:
            seen, after = after[0], behind[after[0].name]
        while len(after) == 1 and isinstance(after[0], CHANNELWISE):
            after = behind[after[0].name]
        if len(after) == 1 and isinstance(after[0], simulation.KERNELS):
            yield Pair(first, seen, after[0])


def _statistics(plain: keras.Model, pairs: list[Pair], records: Arrays) -> Iterator[Seen]:
    if not pairs:
        return
    network = keras.Model(plain.input, {pair.first.name: _extent(pair.seen.output) for pair in pairs})
    probe = simulation.compiled(network)
    batches = list(simulation.batches(records, RECORDS))
    sizes, found = [len(batch) for batch in batches], [probe(batch) for batch in batches]
    for pair in pairs:
        low, high, power = (np.array(part) for part in zip(*(one[pair.first.name] for one in found), strict=True))
        yield Seen(low.min(0), high.max(0), np.average(power, 0, sizes))


def _extent(y) -> tuple:
    places = tuple(range(len(y.shape) - 1))
    return keras.ops.min(y, places), keras.ops.max(y, places), keras.ops.mean(keras.ops.square(y), places)


def _factors(reader: keras.Layer, seen: Seen) -> np.ndarray:
    """What each channel is multiplied by."""
    low, high = min(seen.low.min(), 0.0), max(seen.high.max(), 0.0)
    ends = [end / np.where(end * own > 0, own, end / MOST) for end, own in ((low, seen.low), (high, seen.high)) if end]
    most = np.clip(np.min(ends, 0) / HEADROOM, 1, MOST) if ends else np.ones_like(seen.high)
    if isinstance(reader, layers.DepthwiseConv2D):  # each channel has a kernel of its own scale
        return most
    kernel, steps = _by_input(reader)
    # A channel's steps make noise of (step / g)^2 |kernel|^2, and its kernel's of (steps g)^2 power: both over 12.
    activations = ((high - low) / 255) ** 2 * np.square(kernel).sum((0, 2))
    kernels = seen.power * np.square(steps).sum(1) * len(kernel)
    return np.clip((activations / np.maximum(kernels, 1e-30)) ** 0.25, 1, most)


def _by_input(reader: keras.Layer) -> tuple[np.ndarray, np.ndarray]:
    """The kernel as (places, inputs, outputs that read one), and a step of each of its values (inputs, outputs)."""
    kernel = reader.get_weights()[0]
    kernel = kernel.reshape(-1, *kernel.shape[-2:])
    groups = reader.groups if isinstance(reader, GroupedConv2D) else 1
    places, depth, outputs = kernel.shape
    steps = np.abs(kernel).max((0, 1)) / 127
    apart = kernel.reshape(places, depth, groups, outputs // groups).transpose(0, 2, 1, 3)
    return (apart.reshape(places, groups * depth, -1), np.repeat(steps.reshape(groups, -1), depth, 0))


def _of_inputs(reader: keras.Layer, factors: np.ndarray) -> np.ndarray:
    """factors (inputs,) as the kernel of `reader` has its inputs."""
    if not isinstance(reader, GroupedConv2D):
        return factors[:, None]
    outputs = reader.filters // reader.groups
    return np.repeat(factors.reshape(reader.groups, -1).T, outputs, 1)
