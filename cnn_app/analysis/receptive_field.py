"""Which input pixels each feature map sees, from the graph alone; of sentences which words, of waves which samples.

Of clips also which frames: along `TIME` in the place of a side.

Position i of a map sees the pixels from stride * i + first to stride * i + last along one side (Araujo, Norris, Sim:
Computing Receptive Fields of Convolutional Neural Networks, Distill 2019). Branches that meet are united. The
receptive field is last - first + 1; zeros that were padded count. Behind an upsampling, neighbours differ in first and
last, and a map has them for several positions, after which they repeat.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.layers import GroupedConv2D, LogMel, MaxPoolingWithArgmax, MaxUnpooling, PadShortcut, TableConv2D


@dataclass(frozen=True)
class View:
    """What positions see: the first from windows[0], a (first, last), and so on; after the last `advance` further."""

    advance: int = 1
    windows: tuple[tuple[int, int], ...] | None = ((0, 0),)  # None: the whole image

    @property
    def size(self) -> int | None:
        """Pixels along a side, at the positions that see most; None for all of them."""
        return None if self.windows is None else max(last - first + 1 for first, last in self.windows)

    @property
    def stride(self) -> float:
        """Pixels between neighbours; less than 1 in a map that is larger than the image."""
        count = 1 if self.windows is None else len(self.windows)
        return self.advance / count if self.advance % count else self.advance // count

    def at(self, position: int) -> tuple[int, int]:
        """The first and the last pixel that `position` sees."""
        assert self.windows is not None
        times, place = divmod(position, len(self.windows))
        first, last = self.windows[place]
        return first + times * self.advance, last + times * self.advance


WHOLE = View(windows=None)
GLOBAL = (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling1D,
          layers.GlobalAveragePooling3D)  # fmt: skip
VOLUMES = (layers.Conv3D, layers.MaxPooling3D, layers.AveragePooling3D)
HEIGHT, TIME = 1, 0  # axes of a layer that works on clips; others have the height first


def views(model: keras.Model, axis: int = HEIGHT) -> dict[str, View]:
    """Layer name -> its view, for every layer of a functional model whose layers are used once."""
    seen: dict[int, View] = {}
    found: dict[str, View] = {}
    for layer in model.layers:
        inputs = [seen.get(id(tensor), View()) for tensor in keras.tree.flatten(layer.input)]
        found[layer.name] = view = _through(layer, _united(inputs), axis)
        for tensor in keras.tree.flatten(layer.output):
            seen[id(tensor)] = view
    return found


def _united(inputs: list[View]) -> View:
    """What a sum or concatenation sees; a gate over the whole image makes that the whole image."""
    if len(inputs) < 2:
        return inputs[0] if inputs else View()
    if any(view.windows is None for view in inputs) or len({view.stride for view in inputs}) > 1:
        return WHOLE
    count = math.lcm(*(len(view.windows) for view in inputs))
    seen = [[view.at(i) for view in inputs] for i in range(count)]
    windows = [(min(first for first, _ in each), max(last for _, last in each)) for each in seen]
    return _shortest(inputs[0].advance * count // len(inputs[0].windows), windows)


def _through(layer: keras.Layer, view: View, axis: int) -> View:
    """The view behind `layer`, given the one in front of it."""
    outputs = keras.tree.flatten(layer.output)
    flattened = len(getattr(layer.input, "shape", ())) in (4, 5) and len(outputs[0].shape) < 4
    if view.windows is None or flattened or isinstance(layer, GLOBAL):
        return WHOLE
    if isinstance(layer, (layers.Conv2DTranspose, layers.UpSampling2D, MaxUnpooling)):
        return _finer(view, *_transposed_window(layer))
    return _coarser(view, *(_volume(layer, axis) if isinstance(layer, VOLUMES) else _window(layer)))


def _coarser(view: View, kernel: int, stride: int, dilation: int, before: int) -> View:
    """Behind a window: output o sees the inputs from stride * o - before on."""
    count = len(view.windows) // math.gcd(len(view.windows), stride)
    starts = [stride * o - before for o in range(count)]
    windows = [(view.at(i)[0], view.at(i + (kernel - 1) * dilation)[1]) for i in starts]
    return _shortest(view.advance * count * stride // len(view.windows), windows)


def _finer(view: View, kernel: int, stride: int, before: int) -> View:
    """Behind a transposed window: input i gives something to the `kernel` outputs from stride * i - before on."""
    ends = [o + before for o in range(stride * len(view.windows))]
    windows = [(view.at(-((kernel - 1 - end) // stride))[0], view.at(end // stride)[1]) for end in ends]
    return _shortest(view.advance, windows)


def _shortest(advance: int, windows: list[tuple[int, int]]) -> View:
    """The view with as few windows as repeat."""
    for count in range(1, len(windows) + 1):
        step, rest = divmod(advance * count, len(windows))
        short = View(step, tuple(windows[:count]))
        if len(windows) % count == 0 and not rest and all(short.at(i) == window for i, window in enumerate(windows)):
            return short
    raise AssertionError("all windows repeat after all of them")


def _transposed_window(layer: keras.Layer) -> tuple[int, int, int]:
    """(kernel, stride, positions cut off in front) along the height."""
    if isinstance(layer, MaxUnpooling):  # switches count as what the pool saw that they are of
        return 2, 2, 0
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
    """(kernel, stride, dilation, zeros in front) along the height, a sentence or a wave."""
    if isinstance(layer, PadShortcut):
        return 1, layer.stride, 1, 0
    if isinstance(layer, LogMel):
        return layer.frame, layer.hop, 1, 0
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
    elif isinstance(layer, (layers.MaxPooling2D, layers.AveragePooling2D, MaxPoolingWithArgmax)):
        kernel, stride, dilation = layer.pool_size[0], layer.strides[0], 1
    else:
        return 1, 1, 1, 0  # sees one position
    same = layer.padding == "same"
    return kernel, stride, dilation, _same_padding(layer.input.shape[1], kernel, stride, dilation) if same else 0


def _volume(layer: keras.Layer, axis: int) -> tuple[int, int, int, int]:
    """As `_window`, of a layer that works on clips, along one of its axes."""
    kernel = (layer.kernel_size if isinstance(layer, layers.Conv3D) else layer.pool_size)[axis]
    stride, dilation = layer.strides[axis], layer.dilation_rate[axis] if isinstance(layer, layers.Conv3D) else 1
    same = layer.padding == "same"
    side = layer.input.shape[1 + axis]
    return kernel, stride, dilation, _same_padding(side, kernel, stride, dilation) if same else 0


def _same_padding(side: int, kernel: int, stride: int, dilation: int) -> int:
    """What TensorFlow's `same` puts in front of a side of that length; the odd one goes behind."""
    reach = (kernel - 1) * dilation + 1
    return max(0, (-(-side // stride) - 1) * stride + reach - side) // 2
