"""Layer by layer, the kernel is rounded for what it reads, and its bias takes back what it shifts on average.

Bias correction: Nagel et al., arXiv:1906.04721, section 4.2, with means of real images (appendix D). Depthwise kernels
of nine values shift most: MobileNets lose points without it.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from cnn_app.export import graph
from cnn_app.export.quantization import adaptive_rounding, simulation
from cnn_app.tensors import Arrays

RECORDS = 64


def correct(plain: keras.Model, rounding: keras.Model, records: Arrays) -> None:
    """Round the kernels of `rounding` = simulation.simulated(plain), and set its biases so that each layer's mean is
    that of `plain`.

    Layer by layer, each behind the corrected ones in front of it, in one pass: what nobody reads any more is dropped.
    """
    batches = list(simulation.batches(records, RECORDS))
    wanted, places = _means(plain, batches), simulation.scales(plain)
    values = {plain.layers[0].name: [ops.convert_to_tensor(batch) for batch in batches]}
    waiting = {name: len(behind) for name, behind in graph.readers(plain).items()}
    for layer in plain.layers[1:]:
        twin = rounding.get_layer(simulation.wrapper(layer))
        read = _inputs(layer, values)
        if isinstance(layer, simulation.KERNELS):
            adaptive_rounding.round_kernel(twin.layer, read)
        found = [twin(x) for x in read]
        if layer.name in wanted:
            shift = wanted[layer.name] - _mean(found)
            twin.layer.bias.assign_add(shift)
            found = [y + shift for y in found]
        if layer.name in places:
            name, member = places[layer.name]
            found = [rounding.get_layer(name)(y, member=member) for y in found]
        values[layer.name] = found
        for before in graph.producers(layer):
            waiting[before.name] -= 1
            if not waiting[before.name]:
                del values[before.name]


def _means(plain: keras.Model, batches: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Layer with a bias -> the mean of each of its channels."""
    corrected = [layer for layer in plain.layers if isinstance(layer, simulation.KERNELS) and layer.use_bias]
    model = keras.Model(plain.input, [_by_channel(layer.output) for layer in corrected])
    sums = [[len(batch) * np.asarray(mean) for mean in model(batch)] for batch in batches]
    images = sum(map(len, batches))
    return {
        layer.name: np.sum(parts, 0) / images for layer, parts in zip(corrected, zip(*sums, strict=True), strict=True)
    }


def _mean(found: list) -> np.ndarray:
    sums = [len(y) * np.asarray(_by_channel(y)) for y in found]
    return np.sum(sums, 0) / sum(map(len, found))


def _by_channel(y):
    return ops.mean(y, axis=tuple(range(len(y.shape) - 1)))


def _inputs(layer: keras.Layer, values: dict[str, list]) -> list:
    """What goes into `layer`, batch by batch."""
    tensors = keras.tree.flatten(layer.input)
    sources = []
    for tensor in tensors:
        history = tensor._keras_history
        outputs = values[history.operation.name]
        parts = isinstance(outputs[0], list | tuple)
        sources.append([batch[history.tensor_index] for batch in outputs] if parts else outputs)
    return sources[0] if len(sources) == 1 else [list(together) for together in zip(*sources, strict=True)]
