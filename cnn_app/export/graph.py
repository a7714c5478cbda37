"""The deployment graph: the same function in layers that mobile runtimes have fast kernels for."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
import numpy as np
from keras import layers

from cnn_app.architectures.blocks import window_padding
from cnn_app.errors import ExportError
from cnn_app.export.frames import framewise
from cnn_app.heads import plain
from cnn_app.layers import ChannelShuffle, GroupedConv2D, LocalResponseNormalization, PadShortcut
from cnn_app.names import DEFAULT
from cnn_app.runtimes.keras_model import fed
from cnn_app.tasks import Task
from cnn_app.tensors import Arrays, Spec

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, GroupedConv2D)
WINDOWS = (*CONVOLUTIONS, layers.MaxPooling2D)  # that may pad inside
CHANNELWISE = (layers.DepthwiseConv2D, layers.BatchNormalization)
RECTIFIED = ("relu", "relu6", "sigmoid")
KEEP_SIGN = (layers.MaxPooling2D, layers.ZeroPadding2D, layers.Dropout, layers.Concatenate, layers.Add, layers.Multiply,
             LocalResponseNormalization, ChannelShuffle)  # fmt: skip


def deployable(model: keras.Model) -> keras.Model:
    """A float32 copy of `model` with native grouped convolutions, and padding inside of them where `same` says it.

    XNNPACK has no int8 AVERAGE_POOL_2D and no STRIDED_SLICE: with zeros counted the pool is a depthwise convolution
    of constant weight, and the shortcut without parameters a 1x1 convolution of zeros and ones. Channels are shuffled
    behind a depthwise convolution with a stride instead of in front, where there are four times as many values. Clips
    are taken frame by frame: see `export.frames`.
    """
    model = framewise(plain(model))
    late = _late_shuffles(model)
    order = {layer.name: shuffle for shuffle, moved in late.items() for layer in moved}

    def call(layer: keras.Layer, x, mask=None, training=None):
        if layer.name in late:
            return x
        y = layer(x)
        shuffle = order.get(layer.name)
        return shuffles[shuffle](y) if shuffle and layer.name == late[shuffle][-1].name else y

    shuffles = {name: _swap(model.get_layer(name)) for name in late}
    copy = keras.models.clone_model(model, clone_function=_swap, call_function=call)
    for layer in model.layers:
        if layer.weights:
            weights = layer.get_weights()
            if layer.name in order:
                weights = [_unshuffled(weight, model.get_layer(order[layer.name]).groups) for weight in weights]
            if isinstance(layer, layers.Conv2DTranspose):
                weights[0] = _widened(weights[0], layer.strides)
            copy.get_layer(layer.name).set_weights(weights)
    return copy


def endpoint(task: Task, model: keras.Model, *, batch: int | None, as_float: bool = False):
    """`model` as the task deploys it: a tf.function of its named inputs (batch, ...) -> its named outputs.

    as_float: take float32 where pixels would be bytes, for a converter that quantizes the input itself.
    """
    import tensorflow as tf

    deployed = task.deployed(model)
    kept = {tensor.name: tensor.dtype for tensor in model.inputs}

    def spec(name, known):
        dtype = kept[name] if as_float else known.dtype
        return tf.TensorSpec((batch, *known.shape[1:]), dtype, name=name)

    names = [spec(name, known) for name, known in task.input.specs().items()]

    @tf.function(input_signature=names)
    def serve(*tensors):
        given = {spec.name: tf.cast(tensor, kept[spec.name]) for spec, tensor in zip(names, tensors, strict=True)}
        return deployed(fed(deployed, given), training=False)

    return serve


def function(body: Callable, specs: dict[str, Spec]):
    """A tf.function of one tensor for each of `specs`."""
    import tensorflow as tf

    tensors = [tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in specs.items()]
    return tf.function(body, input_signature=tensors)


def alone(task: Task, part: keras.Model, *, batch: int | None):
    """A part of the network by itself: tensors that the task takes come as it takes them, others as they are."""
    import tensorflow as tf

    known = task.input.specs()
    dtypes = {taken.name: known[taken.name].dtype if taken.name in known else taken.dtype for taken in part.inputs}
    specs = {taken.name: Spec(dtypes[taken.name], (batch, *taken.shape[1:])) for taken in part.inputs}

    def answers(*tensors):
        given = {taken.name: tf.cast(tensor, taken.dtype) for taken, tensor in zip(part.inputs, tensors, strict=True)}
        return part(fed(part, given), training=False)

    return function(answers, specs)


def save(task: Task, model: keras.Model, path, *, batch: int | None, as_float: bool = False) -> None:
    """Write a SavedModel directory whose `serving_default` is `endpoint`."""
    write(path, model, {DEFAULT: endpoint(task, model, batch=batch, as_float=as_float)}, [])


def write(path, model: keras.Model, signatures: dict, resources: list) -> None:
    """Write a SavedModel directory of tf.functions that call `model` and use `resources`, such as tables.

    A bare module with the variables: keras.export.ExportArchive would write each of them twice.
    """
    import tensorflow as tf

    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    module.resources = resources
    try:
        tf.saved_model.save(module, str(path), signatures=signatures)
    except tf.errors.OpError as error:  # a full disk, in TensorFlow's words
        raise ExportError(
            f"cannot write the SavedModel: {error.message.rpartition('; ')[2].partition(' [Op')[0]}"
        ) from error


def check_calibration(task: Task, records: Arrays | None) -> None:
    """Raise ExportError unless these are what the ranges of a network can be set by."""
    if not records or not all(map(len, records.values())):
        raise ExportError(f"a file of integers needs calibration {task.input.plural}; give --data with real ones")
    for name, wanted in task.input.specs().items():
        given = Spec(records[name].dtype.name, (None, *records[name].shape[1:]))
        if given != wanted:
            raise ExportError(f"calibration {task.input.plural} are {wanted}; received {given}")


def _swap(layer: keras.Layer) -> keras.Layer:
    config = layer.get_config() | {"dtype": "float32"}
    if isinstance(layer, layers.ZeroPadding2D) and (_is_same(layer) or not np.any(layer.padding)):
        return layers.Activation("linear", name=layer.name)
    if isinstance(layer, WINDOWS) and isinstance(before := producer(layer), layers.ZeroPadding2D):
        config["padding"] = "same" if _is_same(before) else config["padding"]
    if isinstance(layer, GroupedConv2D):
        config["lowering"] = "native"
    if isinstance(layer, layers.Conv2DTranspose):
        config["kernel_size"] = [*map(max, layer.kernel_size, layer.strides)]
    if isinstance(layer, layers.AveragePooling2D) and layer.padding == "valid":
        constant = keras.initializers.Constant(1 / math.prod(layer.pool_size))
        return layers.DepthwiseConv2D(layer.pool_size, layer.strides, use_bias=False, depthwise_initializer=constant,
                                      trainable=False, name=layer.name)  # fmt: skip
    if isinstance(layer, PadShortcut):
        identity = ShiftedIdentity(layer.before)
        return layers.Conv2D(layer.filters, 1, layer.stride, use_bias=False, kernel_initializer=identity,
                             trainable=False, name=layer.name)  # fmt: skip
    return layer.__class__.from_config(config)


def _late_shuffles(model: keras.Model) -> dict[str, list[keras.Layer]]:
    """Of every ChannelShuffle in front of a strided depthwise convolution: the layers that it can be moved behind."""
    found, behind = {}, readers(model)
    for layer in model.layers:
        if isinstance(layer, ChannelShuffle):
            passed, after = [], behind[layer.name]
            while len(after) == 1 and isinstance(after[0], (layers.ZeroPadding2D, *CHANNELWISE)):
                passed.append(after[0])
                after = behind[after[0].name]
            if any(isinstance(other, layers.DepthwiseConv2D) and other.strides != (1, 1) for other in passed):
                found[layer.name] = passed
    return found


def _unshuffled(weight: np.ndarray, groups: int) -> np.ndarray:
    """The weight of a layer behind a shuffle (..., channels[, 1]) as it stands in front of it."""
    channels = max(weight.shape)
    order = np.arange(channels).reshape(groups, channels // groups).T.ravel()  # shuffled[i] is plain[order[i]]
    axis = weight.shape.index(channels)
    plain = np.empty_like(weight)
    plain[(slice(None),) * axis + (order,)] = weight
    return plain


def _widened(kernel: np.ndarray, strides: tuple[int, int]) -> np.ndarray:
    """The kernel of a transposed convolution with zeros up to its strides: ONNX has none with gaps between kernels."""
    missing = [(0, max(0, stride - size)) for stride, size in zip(strides, kernel.shape[:2], strict=True)]
    return np.pad(kernel, [*missing, (0, 0), (0, 0)])


def readers(model: keras.Model) -> dict[str, list[keras.Layer]]:
    """Layer -> the layers of `model` behind it; its outbound nodes know those of other models, too."""
    found: dict[str, list[keras.Layer]] = {layer.name: [] for layer in model.layers}
    for layer in model.layers:
        for before in producers(layer) if not isinstance(layer, layers.InputLayer) else ():
            found[before.name].append(layer)
    return found


def producers(layer: keras.Layer) -> list[keras.Layer]:
    """The layers whose outputs `layer` takes."""
    return [tensor._keras_history.operation for tensor in keras.tree.flatten(layer.input)]


def producer(layer: keras.Layer):
    """The layer whose output is the one input of `layer`."""
    return layer.input._keras_history.operation


def _is_same(pad: keras.Layer) -> bool:
    """Whether `pad` and the window behind it are one with TensorFlow's `same` padding.

    A pool's padding is never the maximum: zeros are like it where nothing is negative.
    """
    behind = {node.operation for node in pad._outbound_nodes}
    window = behind.pop()
    if behind or not isinstance(window, WINDOWS) or window.padding != "valid":
        return False
    pool = isinstance(window, layers.MaxPooling2D)
    if pool and not _is_rectified(producer(pad)):
        return False
    kernels, strides = (
        np.broadcast_to(value, 2) for value in (window.pool_size if pool else window.kernel_size, window.strides)
    )
    same = [window_padding(*axis, "same") for axis in zip(pad.input.shape[1:3], kernels, strides, strict=True)]
    return [tuple(sides) for sides in pad.padding] == same


def _is_rectified(layer: keras.Layer) -> bool:
    """Whether no value of its output can be negative."""
    if isinstance(layer, layers.ReLU):
        return not layer.negative_slope
    if isinstance(layer, KEEP_SIGN):
        return all(map(_is_rectified, producers(layer)))
    return hasattr(layer, "activation") and keras.activations.serialize(layer.activation) in RECTIFIED


@keras.saving.register_keras_serializable("cnn_app")
class ShiftedIdentity(keras.initializers.Initializer):
    """1x1 kernels that put input channel i into output channel i + before, and zeros elsewhere."""

    def __init__(self, before: int):
        self.before = before

    def __call__(self, shape, dtype=None):
        return keras.ops.convert_to_tensor(np.eye(*shape[2:], k=self.before)[None, None], dtype)

    def get_config(self):
        return {"before": self.before}
