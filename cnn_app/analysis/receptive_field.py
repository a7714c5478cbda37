"""Which input pixels each feature map sees, from the graph alone; of sentences, which words.

Position i of a map sees the pixels from stride * i + first to stride * i + last along one side (Araujo, Norris, Sim:
Computing Receptive Fields of Convolutional Neural Networks, Distill 2019). Branches that meet are united. The
receptive field is last - first + 1; zeros that were padded count.

Behind an upsampling, positions differ in what they see: first and last are those that hold for all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import keras
from keras import layers

from cnn_app.layers import GroupedConv2D, PadShortcut, TableConv2D


@dataclass(frozen=True)
class View:
    """What a position sees; `size` is None once it sees the whole image."""

    stride: float = 1  # less than 1 where a map is larger than the image
    first: float = 0
    last: float | None = 0

    @property
    def size(self) -> int | None:
        return None if self.last is None else math.floor(self.last - self.first) + 1


WHOLE = View(last=None)
GLOBAL = (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling1D)


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
    if flattened or isinstance(layer, GLOBAL):
        return WHOLE
    if isinstance(layer, PadShortcut):
        return replace(view, stride=view.stride * layer.stride)
    if isinstance(layer, (layers.Conv2DTranspose, layers.UpSampling2D)):
        return _finer(view, *_transposed_window(layer))
    kernel, stride, dilation, before = _window(layer)
    first = view.first - view.stride * before
    last = None if view.last is None else view.last + view.stride * ((kernel - 1) * dilation - before)
    return View(view.stride * stride, first, last)


def _finer(view: View, kernel: int, stride: int, before: int) -> View:
    """Behind a transposed window: output o sees the inputs i of stride * i - before <= o < stride * i - before + kernel.

    It is a window of stride 1 over the inputs with zeros between them.
    """
    step = view.stride // stride if view.stride % stride == 0 else view.stride / stride
    last = None if view.last is None else view.last + step * before
    return View(step, view.first - step * (kernel - 1 - before), last)


def _transposed_window(layer: keras.Layer) -> tuple[int, int, int]:
    """(kernel, stride, positions cut off in front) along the height."""
    if isinstance(layer, layers.UpSampling2D):
        factor = layer.size[0]
        if layer.interpolation == "nearest":
            return factor, factor, 0
        kernel = 2 * factor - factor % 2  # bilinear, between the middles of pixels
        return kernel, factor, (kernel - factor) // 2
    kernel, stride = layer.kernel_size[0], layer.strides[0]
    reach = (kernel - 1) * layer.dilation_rate[0] + 1
    return reach, stride, max(0, reach - stride) // 2 if layer.padding == "same" else 0


def _window(layer: keras.Layer) -> tuple[int, int, int, int]:
    """(kernel, stride, dilation, zeros in front) along the height, or along a sentence."""
    if isinstance(layer, layers.ZeroPadding2D):
        return 1, 1, 1, layer.padding[0][0]
    if isinstance(layer, layers.Cropping2D):
        return 1, 1, 1, -layer.cropping[0][0]
    if isinstance(layer, GroupedConv2D):
        kernel, stride, dilation = layer.kernel_size, layer.strides, layer.dilation
    elif isinstance(layer, TableConv2D):
        kernel, stride, dilation = layer.kernel_size, layer.strides, 1
    elif isinstance(layer, (layers.Conv1D, layers.Conv2D, layers.DepthwiseConv2D)):
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
