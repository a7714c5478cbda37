"""The deployment graph: the same function in layers that mobile runtimes have fast kernels for."""

from __future__ import annotations

import math

import keras
import numpy as np
from keras import layers

from cnn_app.architectures.blocks import window_padding
from cnn_app.errors import ExportError
from cnn_app.layers import GroupedConv2D, PadShortcut
from cnn_app.runtimes.keras_model import inference

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, GroupedConv2D)


def deployable(model: keras.Model) -> keras.Model:
    """A float32 copy of `model` with native grouped convolutions, and padding inside of them where `same` says it.

    XNNPACK has no int8 AVERAGE_POOL_2D and no STRIDED_SLICE: with zeros counted the pool is a depthwise convolution
    of constant weight, and the shortcut without parameters a 1x1 convolution of zeros and ones.
    """
    model = inference(model)
    copy = keras.models.clone_model(model, clone_function=_swap)
    for layer in model.layers:
        if layer.weights:
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    return copy


def endpoint(model: keras.Model, *, batch: int | None, dtype: str):
    """`model` with a softmax as a tf.function (batch, H, W, C) of `dtype` -> {"probabilities": (batch, classes)}."""
    import tensorflow as tf

    signature = tf.TensorSpec((batch, *model.input_shape[1:]), dtype, name="image")

    @tf.function(input_signature=[signature])
    def serve(image):
        return {"probabilities": tf.nn.softmax(model(tf.cast(image, tf.float32), training=False))}

    return serve


def save(model: keras.Model, path, *, batch: int | None, dtype: str) -> None:
    """Write a SavedModel directory whose `serving_default` is `endpoint`."""
    write(path, model, {"serving_default": endpoint(model, batch=batch, dtype=dtype)}, [])


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


def _swap(layer: keras.Layer) -> keras.Layer:
    config = layer.get_config() | {"dtype": "float32"}
    if isinstance(layer, layers.ZeroPadding2D) and _is_same(layer):
        return layers.Activation("linear", name=layer.name)
    if isinstance(layer, CONVOLUTIONS) and isinstance(before := producer(layer), layers.ZeroPadding2D):
        config["padding"] = "same" if _is_same(before) else config["padding"]
    if isinstance(layer, GroupedConv2D):
        config["lowering"] = "native"
    if isinstance(layer, layers.AveragePooling2D) and layer.padding == "valid":
        constant = keras.initializers.Constant(1 / math.prod(layer.pool_size))
        return layers.DepthwiseConv2D(layer.pool_size, layer.strides, use_bias=False, depthwise_initializer=constant,
                                      trainable=False, name=layer.name)  # fmt: skip
    if isinstance(layer, PadShortcut):
        identity = ShiftedIdentity(layer.before)
        return layers.Conv2D(layer.filters, 1, layer.stride, use_bias=False, kernel_initializer=identity,
                             trainable=False, name=layer.name)  # fmt: skip
    return layer.__class__.from_config(config)


def producer(layer: keras.Layer):
    """The layer whose output is the one input of `layer`."""
    return layer.input._keras_history.operation


def _is_same(pad: keras.Layer) -> bool:
    """Whether `pad` and the convolution behind it are one with TensorFlow's `same` padding."""
    behind = {node.operation for node in pad._outbound_nodes}
    window = behind.pop()
    if behind or not isinstance(window, CONVOLUTIONS) or window.padding != "valid":
        return False
    kernels, strides = (np.broadcast_to(value, 2) for value in (window.kernel_size, window.strides))
    same = [window_padding(*axis, "same") for axis in zip(pad.input.shape[1:3], kernels, strides, strict=True)]
    return [tuple(sides) for sides in pad.padding] == same


@keras.saving.register_keras_serializable("cnn_app")
class ShiftedIdentity(keras.initializers.Initializer):
    """1x1 kernels that put input channel i into output channel i + before, and zeros elsewhere."""

    def __init__(self, before: int):
        self.before = before

    def __call__(self, shape, dtype=None):
        return keras.ops.convert_to_tensor(np.eye(*shape[2:], k=self.before)[None, None], dtype)

    def get_config(self):
        return {"before": self.before}
