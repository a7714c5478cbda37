"""Which input pixels each feature map sees, from the graph alone.

Position i of a map sees the pixels from stride * i + first to stride * i + last along one side (Araujo, Norris, Sim:
Computing Receptive Fields of Convolutional Neural Networks, Distill 2019). Branches that meet are united. The
receptive field is last - first + 1; zeros that were padded count.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import keras
from keras import layers

from cnn_app.layers import GroupedConv2D, PadShortcut, TableConv2D


@dataclass(frozen=True)
class View:
    """What a position sees; `size` is None once it sees the whole image."""

    stride: int = 1
    first: int = 0
    last: int | None = 0

    @property
    def size(self) -> int | None:
        return None if self.last is None else self.last - self.first + 1


WHOLE = View(last=None)


def views(model: keras.Model) -> dict[str, View]:
    """Layer name -> its view, for every layer of a functional model whose layers are used once."""
    seen: dict[int, View] = {}
    found: dict[str, View] = {}
    for layer in model.layers:
        inputs = [seen.get(id(tensor), View()) for tensor in keras.tree.flatten(layer.input)]
        found[layer.name] = view = _through(layer, _united(inputs))
        for tensor in keras.tree.flatten(layer.output):
            seen[id(tensor)] = view
    return found


def _united(inputs: list[View]) -> View:
    """What a sum or concatenation sees; a gate over the whole image makes that the whole image."""
    if not inputs:
        return View()
    stride = max(view.stride for view in inputs)
    if any(view.last is None or view.stride != stride for view in inputs):
        return View(stride, last=None)
    return View(stride, min(view.first for view in inputs), max(view.last for view in inputs))


def _through(layer: keras.Layer, view: View) -> View:
    """The view behind `layer`, given the one in front of it."""
    outputs = keras.tree.flatten(layer.output)
    flattened = len(getattr(layer.input, "shape", ())) == 4 and len(outputs[0].shape) < 4
    if flattened or isinstance(layer, (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)):
        return WHOLE
    if isinstance(layer, PadShortcut):
        return replace(view, stride=view.stride * layer.stride)
    kernel, stride, dilation, before = _window(layer)
    first = view.first - view.stride * before
    last = None if view.last is None else view.last + view.stride * ((kernel - 1) * dilation - before)
    return View(view.stride * stride, first, last)


def _window(layer: keras.Layer) -> tuple[int, int, int, int]:
    """(kernel, stride, dilation, zeros in front) along the height."""
    if isinstance(layer, layers.ZeroPadding2D):
        return 1, 1, 1, layer.padding[0][0]
    if isinstance(layer, GroupedConv2D):
        kernel, stride, dilation = layer.kernel_size, layer.strides, layer.dilation
    elif isinstance(layer, TableConv2D):
        kernel, stride, dilation = layer.kernel_size, layer.strides, 1
    elif isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D)):
        kernel, stride, dilation = layer.kernel_size[0], layer.strides[0], layer.dilation_rate[0]
    elif isinstance(layer, (layers.MaxPooling2D, layers.AveragePooling2D)):
        kernel, stride, dilation = layer.pool_size[0], layer.strides[0], 1
    else:
        return 1, 1, 1, 0  # sees one position
    same = layer.padding == "same"
    return kernel, stride, dilation, _same_padding(layer.input.shape[1], kernel, stride, dilation) if same else 0


def _same_padding(side: int, kernel: int, stride: int, dilation: int) -> int:
    """What TensorFlow's `same` puts in front of a side of that length; the odd one goes behind."""
    reach = (kernel - 1) * dilation + 1
    return max(0, (-(-side // stride) - 1) * stride + reach - side) // 2
