"""The int8 file of a network as a Keras model that rounds where the file will, and that can be trained.

`folded` has a layer for each operator of the file, `simulated` rounds what they take and give, and from `rangeful` the
converter reads the ranges that were learned. What stands behind all of them, such as the mean of boxes, stays in float.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np
from keras import layers

from cnn_app.export.graph import CONVOLUTIONS, producer, producers, readers
from cnn_app.layers import (
    BilinearResizing,
    ChannelShuffle,
    ChannelSplit,
    FakeQuant,
    FakeQuantKernel,
    FrameMax,
    FramesApart,
    FrameStack,
    FramesTogether,
)
from cnn_app.tensors import Arrays

KERNELS = (*CONVOLUTIONS, layers.Dense)
COMPUTED = (*KERNELS, layers.Add, layers.Multiply, layers.GlobalAveragePooling2D, layers.Rescaling)
MOVED = (layers.MaxPooling2D, layers.Flatten, layers.Reshape, layers.ZeroPadding2D, layers.Cropping2D,
         layers.Concatenate, ChannelShuffle, ChannelSplit, BilinearResizing, FrameMax, FramesApart, FrameStack,
         FramesTogether)  # fmt: skip
FUSED = ("relu", "relu6")  # into the operator in front of them
FIXED = {"linear": (0.0, 255.0), "sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}  # linear: the pixels
MARGIN = 1 / 256  # of shifted pixels' range, or they lie between two steps and one kernel rounds up, another down
PIXELS = "pixels"  # the layer that stands for the quantized input
BATCH = 16  # a network that runs eagerly keeps every activation


def folded(model: keras.Model) -> keras.Model:
    """`model`, as `graph.deployable` makes it, with batch normalization in its kernels as the converter folds it."""
    behind = readers(model)
    norms = {producer(layer).name: layer for layer in model.layers if _is_foldable(layer, behind)}
    gone = {layer.name for layer in norms.values()}
    first = model.layers[1].name

    def clone(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if isinstance(layer, KERNELS):
            config["use_bias"] = layer.use_bias or layer.name in norms
            config |= {"activation": "linear"} if "activation" in config else {}
        if isinstance(layer, layers.Rescaling):
            config["offset"] = 0.0
        return layer.__class__.from_config(config)

    def call(layer: keras.Layer, x, mask=None, training=None):
        source, name = model.get_layer(layer.name), layer.name
        kind = activation(source)
        x = layers.Activation("linear", name=PIXELS)(x) if name == first else x
        if name in gone or isinstance(source, layers.Dropout):
            return x
        if not isinstance(source, KERNELS) and kind:
            return x if kind == "linear" else layers.Activation(kind, name=name)(x)
        y = layer(x)
        if isinstance(source, layers.Rescaling) and np.any(source.offset):
            return layers.Rescaling(1.0, source.offset, name=f"{name}_offset")(y)
        return layers.Activation(kind, name=f"{name}_{kind}")(y) if kind not in ("", "linear") else y

    copy = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer in copy.layers:
        if layer.weights:
            layer.trainable = model.get_layer(layer.name).trainable
            layer.set_weights(_with_norm(model.get_layer(layer.name), norms.get(layer.name)))
    return copy


def simulated(plain: keras.Model, records: Arrays) -> keras.Model:
    """`plain`, as `folded` makes it, with integers' weights, and activations whose ranges `records` start.

    Training moves the ranges.
    """

    def learned(name: str, members: int, fixed) -> FakeQuant:
        return FakeQuant(members, fixed=fixed, name=name)

    model = _rounding(plain, learned, with_kernels=True)
    for layer in plain.layers:
        if layer.weights:
            wrapped = model.get_layer(wrapper(layer))
            wrapped.set_weights(layer.get_weights())
            wrapped.trainable = layer.trainable
    follow = compiled(lambda batch: model(batch, training=True))
    for batch in batches(records):
        follow(batch)
    return model


def compiled(function: Callable) -> Callable:
    """Of one batch, as one graph: operator by operator MobileNetV2 takes three times as long."""
    import tensorflow as tf

    return tf.function(function, reduce_retracing=True, jit_compile=False)


def batches(records: Arrays, most: int | None = None) -> Iterator[np.ndarray]:
    """What the one input of a simulated network takes: all records, or `most` of them that lie evenly."""
    (images,) = records.values()
    if most is not None and most < len(images):
        images = images[np.linspace(0, len(images) - 1, most).round().astype(int)]
    for start in range(0, len(images), BATCH):
        yield images[start : start + BATCH]


def rangeful(plain: keras.Model, model: keras.Model) -> keras.Model:
    """`model`, which is a trained `simulated(plain)`, with constant ranges and rounded weights: what to convert."""

    def known(name: str, members: int, fixed) -> FakeQuant:
        return FakeQuant(members, fixed=tuple(map(float, model.get_layer(name).range())), name=name)

    copy = _rounding(plain, known, with_kernels=False)
    for layer in plain.layers:
        if layer.weights:
            copy.get_layer(layer.name).set_weights(list(map(np.asarray, model.get_layer(wrapper(layer)).held())))
    return copy


def obstacle(plain: keras.Model) -> str:
    """A layer that has no simulation, if there is one."""
    behind = _behind_all(plain)
    strange = (layer for layer in plain.layers if _is_strange(layer) and layer.name not in behind)
    return next((f"{layer.name} ({type(layer).__name__})" for layer in strange), "")


def _is_strange(layer: keras.Layer) -> bool:
    return not isinstance(layer, (*COMPUTED, *MOVED, layers.InputLayer)) and not activation(layer)


def _behind_all(plain: keras.Model) -> set[str]:
    """Layers without a simulation that nothing with one is computed from, and what is made of them."""
    behind, found, last = readers(plain), set(), set()
    for layer in reversed(plain.layers):
        if not (isinstance(layer, COMPUTED) or layer.weights) and all(
            after.name in last for after in behind[layer.name]
        ):
            last.add(layer.name)
    for layer in plain.layers:
        if layer.name in last and (_is_strange(layer) or any(before.name in found for before in producers(layer))):
            found.add(layer.name)
    return found


def _rounding(plain: keras.Model, quantizer: Callable[..., FakeQuant], with_kernels: bool) -> keras.Model:
    """A copy of `plain` with quantizer(name, members, fixed) at every tensor that gets a new scale."""
    quantizers = {}
    for members in _scales(plain):
        fixed = [known for name in members if (known := _fixed(plain.get_layer(name)))]
        shared = quantizer(range_of(members), len(members), fixed[0] if fixed else None)
        quantizers |= {name: (shared, place) for place, name in enumerate(members)}

    def call(layer: keras.Layer, x, mask=None):
        source = plain.get_layer(layer.name)
        if with_kernels and isinstance(source, KERNELS):
            layer = FakeQuantKernel(layer, quantizers[_rounded_before(source)][0].step, name=wrapper(source))
        y = layer(x)
        if source.name not in quantizers:
            return y
        shared, place = quantizers[source.name]
        return shared(y, member=place)

    return keras.models.clone_model(plain, call_function=call)


def wrapper(layer: keras.Layer) -> str:
    """The name that `layer` of the plain model has in the simulated one."""
    return f"{layer.name}_int8" if isinstance(layer, KERNELS) else layer.name


def range_of(members: list[str]) -> str:
    return f"{members[0]}_range"


def scales(plain: keras.Model) -> dict[str, tuple[str, int]]:
    """Of every layer whose output is rounded: the FakeQuant layer behind it, and which of its members it is."""
    return {name: (range_of(members), place) for members in _scales(plain) for place, name in enumerate(members)}


def _rounded_before(layer: keras.Layer) -> str:
    """The name of the nearest layer in front whose output is rounded."""
    before = producer(layer)
    while isinstance(before, MOVED):
        before = producers(before)[0]
    return before.name


def _scales(plain: keras.Model) -> Iterable[list[str]]:
    """The layers whose outputs are rounded, those together that have one scale."""
    in_float = _behind_all(plain)
    group = {layer.name: {layer.name} for layer in plain.layers}
    for layer in plain.layers:
        if isinstance(layer, MOVED) and layer.name not in in_float:
            for before in producers(layer):
                joined = group[layer.name] | group[before.name]
                group |= dict.fromkeys(joined, joined)
    behind = readers(plain)
    rounded_at = [layer.name for layer in plain.layers
                  if layer.name not in in_float and _is_rounded(layer, behind[layer.name])]  # fmt: skip
    distinct = {id(members): members for members in group.values()}
    found = ([name for name in rounded_at if name in members] for members in distinct.values())
    return [members for members in found if members]


def _is_rounded(layer: keras.Layer, behind: list[keras.Layer]) -> bool:
    """Whether its output gets a scale: not what only moves values, nor what an activation is fused into."""
    if isinstance(layer, (*MOVED, layers.InputLayer)):
        return False
    return not (isinstance(layer, COMPUTED) and len(behind) == 1 and activation(behind[0]) in FUSED)


def _fixed(layer: keras.Layer) -> tuple[float, float] | None:
    """The range of its output where it is known."""
    if isinstance(layer, layers.Rescaling):
        ends = [np.multiply(end, layer.scale) + layer.offset for end in _fixed(producer(layer))]
        wider = 1 + MARGIN * np.any(layer.offset)
        return float(np.min(ends) * wider), float(np.max(ends) * wider)
    return None if isinstance(layer, KERNELS) else FIXED.get(activation(layer))


def _is_foldable(layer: keras.Layer, behind: dict[str, list[keras.Layer]]) -> bool:
    if not isinstance(layer, layers.BatchNormalization):
        return False
    before = producer(layer)
    return isinstance(before, KERNELS) and len(behind[before.name]) == 1 and activation(before) in ("", "linear")


def activation(layer: keras.Layer) -> str:
    """What `layer` does to each value at last; nothing for those that have no word for it."""
    if isinstance(layer, layers.ReLU):
        return "relu"
    if layer.weights and not isinstance(layer, KERNELS):  # such as a transposed convolution, which does more
        return ""
    function = getattr(layer, "activation", None)
    return function.__name__ if function else ""


def _with_norm(layer: keras.Layer, norm: keras.Layer | None) -> list[np.ndarray]:
    """The weights of `layer` with batch normalization `norm` in them."""
    if norm is None:
        return layer.get_weights()
    kernel, *bias = layer.get_weights()
    gamma, beta, mean, variance = norm.get_weights()
    factor = gamma / np.sqrt(variance + norm.epsilon)
    shape = kernel.shape[2:] if isinstance(layer, layers.DepthwiseConv2D) else factor.shape
    return [kernel * factor.reshape(shape), beta + ((bias[0] if bias else 0) - mean) * factor]
