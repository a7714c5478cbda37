"""Networks of clips in the layers of networks of images: TFLite has no 3-D pool, and no int8 convolution in 3-D.

Frames become records, (N * T, H, W, C). A 3-D convolution is then one in 2-D behind a `FrameStack`, a pool is one over
space and one over time, and what works on each number by itself stays as it is.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from cnn_app.layers import FrameMax, FramesApart, FrameStack, FramesTogether
from cnn_app.layers.volumes import by_frames

EVERY_NUMBER = (layers.BatchNormalization, layers.ReLU, layers.Activation, layers.Dropout, layers.Add, layers.Multiply)
WINDOWS = (layers.Conv3D, layers.MaxPooling3D)
TOGETHER = (layers.Flatten, layers.GlobalAveragePooling3D)  # which see all of a clip


def framewise(model: keras.Model) -> keras.Model:
    """`model` by frames where it takes clips and all of its layers can be had so; else the model itself."""
    if not any(isinstance(layer, layers.Conv3D) for layer in model.layers):
        return model
    volumes = [layer for layer in model.layers if len(getattr(layer.input, "shape", ())) == 5]
    known = (layers.InputLayer, layers.Rescaling, *EVERY_NUMBER, *WINDOWS, *TOGETHER)
    if not all(isinstance(layer, known) and _fits(layer) for layer in volumes):
        return model

    def call(layer: keras.Layer, x, mask=None, training=None):
        source = model.get_layer(layer.name)
        if source not in volumes or isinstance(source, layers.InputLayer):
            return layer(x)
        if isinstance(source, layers.Rescaling):
            return FramesApart(name=f"{layer.name}_frames")(layer(x))
        frames = source.input.shape[1]
        if isinstance(source, layers.Conv3D):
            stack = FrameStack(frames, source.kernel_size[0], name=f"{layer.name}_stack")
            return layer(stack(x))
        if isinstance(source, layers.MaxPooling3D):
            y, size = layer(x), source.pool_size[0]
            return y if size == 1 else FrameMax(frames, size, name=f"{layer.name}_time")(y)
        return layer(FramesTogether(frames, name=f"{layer.name}_frames")(x) if isinstance(source, TOGETHER) else x)

    copy = keras.models.clone_model(model, clone_function=_of_images, call_function=call)
    for layer in model.layers:
        if layer.weights:
            weights = layer.get_weights()
            if isinstance(layer, layers.Conv3D):
                weights[0] = np.asarray(by_frames(weights[0]))
            copy.get_layer(layer.name).set_weights(weights)
    return copy


def _fits(layer: keras.Layer) -> bool:
    """Whether a convolution keeps the sides, or a pool's windows lie side by side."""
    if isinstance(layer, layers.Conv3D):
        return layer.padding == "same" and {*layer.strides, *layer.dilation_rate, layer.groups} == {1}
    if isinstance(layer, layers.MaxPooling3D):
        whole = all(side % size == 0 for side, size in zip(layer.input.shape[1:4], layer.pool_size, strict=True))
        return layer.strides == layer.pool_size and (whole or layer.padding == "same")
    return True


def _of_images(layer: keras.Layer) -> keras.Layer:
    config = layer.get_config()
    if isinstance(layer, layers.Conv3D):
        return layers.Conv2D(layer.filters, layer.kernel_size[1:], padding="same", use_bias=layer.use_bias,
                             activation=layer.activation, name=layer.name)  # fmt: skip
    if isinstance(layer, layers.MaxPooling3D):
        return layers.MaxPooling2D(layer.pool_size[1:], padding=layer.padding, name=layer.name)
    return layer.__class__.from_config(config)
