"""What weights expect of the graph, set on a model's layers in place.

Layers read these attributes whenever they run, and save them, so nothing is added to a graph or built anew.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from cnn_app.architectures.blocks import window_padding
from cnn_app.layers import GroupedConv2D, JoinChannels, LocalResponseNormalization, PadShortcut
from cnn_app.transfer.pretrained.naming import Conventions

WINDOWS = (layers.Conv2D, layers.DepthwiseConv2D, GroupedConv2D, layers.MaxPooling2D, layers.AveragePooling2D)
POOLS = (layers.MaxPooling2D, layers.AveragePooling2D)
COPIED = {
    layers.Rescaling: ("scale", "offset"),
    layers.BatchNormalization: ("epsilon",),
    layers.Activation: ("activation",),
    PadShortcut: ("before",),
    LocalResponseNormalization: ("alpha", "k"),
    JoinChannels: ("last_first",),
}


def apply(model: keras.Model, conventions: Conventions) -> None:
    """Make `model` compute as `conventions` say."""
    if conventions.stride_on is not None:
        move_strides(model, conventions.stride_on)
    for layer in model.layers:
        if isinstance(layer, layers.Rescaling) and conventions.mean and len(conventions.mean) == model.input_shape[-1]:
            layer.scale = [1 / std for std in conventions.std]
            layer.offset = [-mean / std for mean, std in zip(conventions.mean, conventions.std, strict=True)]
        elif isinstance(layer, layers.BatchNormalization) and conventions.epsilon is not None:
            layer.epsilon = conventions.epsilon
        elif layer.name.endswith("_b_act"):
            layer.activation = keras.activations.get(conventions.act_before_se or "linear")
        elif isinstance(layer, layers.Activation) and conventions.act is not None:
            layer.activation = keras.activations.get(conventions.act)
        elif isinstance(layer, layers.ZeroPadding2D) and (window := consumer(layer)) is not None:
            pooled = isinstance(window, POOLS) and _stride(window) > 1
            padding = (conventions.pool_padding if pooled else None) or conventions.padding
            layer.padding = sides(layer, window, padding) if padding else layer.padding
        elif isinstance(layer, PadShortcut) and conventions.shortcut is not None:
            layer.before = (layer.filters - layer.input.shape[-1]) // 2 if conventions.shortcut == "around" else 0
        elif isinstance(layer, LocalResponseNormalization) and conventions.lrn is not None:
            layer.alpha, layer.k = conventions.lrn
        elif isinstance(layer, JoinChannels) and conventions.branch_first is not None:
            layer.last_first = conventions.branch_first
        record_shape(layer)  # which those behind it are padded by
    forget_compiled(model)


def copy(source: keras.Model, target: keras.Model) -> None:
    """Make `target` compute as `source` does, layer by layer of the same name."""
    others = {layer.name: layer for layer in source.layers}
    if (place := strided_kernel(source)) is not None:
        move_strides(target, place)
    for layer in target.layers:
        other = others.get(layer.name)
        if isinstance(layer, layers.ZeroPadding2D):
            _copy_padding(other, layer)
        for kind, attributes in COPIED.items():
            if isinstance(layer, kind) and isinstance(other, kind):
                for attribute in attributes:
                    setattr(layer, attribute, getattr(other, attribute))
        record_shape(layer)
    forget_compiled(target)


def _copy_padding(source: keras.Layer | None, target: keras.Layer) -> None:
    """The same zeros for maps of the same size, for others the same kind of them, where the source tells the kind."""
    window = consumer(target)
    if source is None and window is not None:  # it pads inside of its window, by TensorFlow's rule
        target.padding = sides(target, window, "same")
    elif source is not None and source.input.shape[1:3] == target.input.shape[1:3]:
        target.padding = source.padding
    elif source is not None and window is not None:
        known = ("ceil" if isinstance(window, POOLS) else "same", "symmetric")
        kinds = [kind for kind in known if source.padding == sides(source, window, kind)]
        if len(kinds) == 1:
            target.padding = sides(target, window, kinds[0])


def move_strides(model: keras.Model, kernel: int) -> None:
    """Let bottlenecks stride on their 1x1 (`kernel` 1: a_conv) or 3x3 (3: b_conv)."""
    rate = 1  # of dilation, where output_stride holds the maps fine
    for first, second in _bottlenecks(model):
        stride = max(_stride(first), _stride(second))
        for layer, value in ((first, stride if kernel == 1 else 1), (second, stride if kernel == 3 else 1)):
            layer.strides = value if isinstance(layer, GroupedConv2D) else (value, value)
        if stride == 1 and "_unit1_" in first.name and not first.name.startswith("stage1_"):
            before, rate = rate, 2 * rate
            dilation = before if kernel == 3 else rate
            if isinstance(second, GroupedConv2D):
                second.dilation = dilation
            else:
                second.dilation_rate = (dilation, dilation)


def strided_kernel(model: keras.Model) -> int | None:
    """The kernel of a bottleneck that strides, 1 or 3; None where nothing does."""
    for first, second in _bottlenecks(model):
        if _stride(first) > 1 or _stride(second) > 1:
            return 1 if _stride(first) > 1 else 3
    return None


def _bottlenecks(model: keras.Model) -> list[tuple[keras.Layer, keras.Layer]]:
    """The 1x1 and the 3x3 that may stride, of each residual unit that has them."""
    by_name = {layer.name: layer for layer in model.layers}
    units = [name.removesuffix("_a_conv") for name in by_name if name.endswith("_a_conv")]
    return [(by_name[f"{unit}_a_conv"], by_name[f"{unit}_b_conv"]) for unit in units if f"{unit}_c_conv" in by_name]


def _stride(layer: keras.Layer) -> int:
    return int(np.max(layer.strides))


def sides(pad: keras.Layer, window: keras.Layer, padding: str) -> tuple[tuple[int, int], ...]:
    """The zeros that the `window` behind `pad` has with `padding`."""
    kernel = np.broadcast_to(window.pool_size if isinstance(window, POOLS) else window.kernel_size, 2).tolist()
    strides = np.broadcast_to(window.strides, 2).tolist()
    axes = zip(pad.input.shape[1:3], kernel, strides, strict=True)
    return tuple(window_padding(size, width, stride, padding) for size, width, stride in axes)


def consumer(pad: keras.Layer) -> keras.Layer | None:
    """The window that reads the output of `pad`."""
    behind = (node.operation for node in pad._outbound_nodes)
    return next((layer for layer in behind if isinstance(layer, WINDOWS)), None)


def producer(layer: keras.Layer) -> keras.Layer:
    """The layer whose output is the one input of `layer`."""
    return layer.input._keras_history.operation


def record_shape(layer: keras.Layer) -> None:
    """Write the shape that `layer` computes now where that of the building stands."""
    if not isinstance(layer, layers.InputLayer):
        computed = keras.tree.flatten(layer.compute_output_spec(layer.input))
        for recorded, now in zip(keras.tree.flatten(layer.output), computed, strict=True):
            recorded._shape = now.shape


def forget_compiled(model: keras.Model) -> None:
    """Compiled functions hold what the layers were when they first ran."""
    model.train_function = model.test_function = model.predict_function = None
