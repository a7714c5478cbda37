"""A Keras classifier that others made as a network of ours: bytes of an image in, logits out, in one graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import chain, count, islice

import keras
import numpy as np
from keras import layers

from cnn_app.errors import ModelError, unknown
from cnn_app.layers import Computed, GroupedConv2D, LogProbabilities
from cnn_app.registry import FIXED, ImageVariant
from cnn_app.transfer import HEAD, RANGES, SCORES, SHARES, SIGNED, TORCH, WHOLE

TAKEN = "image"  # the tensor of images, as inputs.image has it
ARCHITECTURE = "adopted"  # in the card of such a model
SCALINGS = {SHARES: (1 / 255, 0.0), SIGNED: (1 / 127.5, -1.0)}  # pixel * scale + offset
TORCH_MEAN, TORCH_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet in [0, 1]
CAFFE_MEAN = (103.939, 116.779, 123.68)  # of bytes, blue first: VGG and ResNet of keras.applications
SCALING_LAYERS = (layers.Rescaling, layers.Normalization)
NEAR_INPUT = 4  # layers in which a network that scales pixels itself does so


def adopted(
    model: keras.Model, image: tuple[int, int] | None = None, pixels: str | None = None, scores: str | None = None
) -> keras.Model:
    """Pixels in [0, 255] (n, h, w, channels) -> logits (n, classes), by the layers and weights of `model`.

    image: height and width, for a network of any size.
    pixels: one of RANGES, where the network has no layer of its own that scales them.
    scores: what comes out, one of SCORES, where the last layer does not tell.

    Raises ModelError for what is no classifier of images, and where one of the three has to be told.
    """
    _graph(model)  # other models tell no shapes
    taken = keras.Input(_shape(model, image), name=TAKEN)
    output = copied(model, _scaled(taken, _range(model, pixels)))
    last = output._keras_history.operation
    activation = _activation(last)
    if activation == "sigmoid":
        raise ModelError(f"{model.name} ends with a sigmoid, so each class stands by itself; only classifiers of one "
                         "class for an image can be adopted")  # fmt: skip
    if scores is not None and scores not in SCORES:
        raise unknown("kind of scores", scores, SCORES)
    if activation == "softmax" and scores == "logits":
        raise ModelError(f"{model.name} ends with a softmax, so it gives probabilities; leave scores out")
    if activation != "softmax" and scores is None:
        raise ModelError(f"{model.name} ends with {last.name}, which does not tell whether it gives logits or "
                         "probabilities; say so by scores")  # fmt: skip
    return keras.Model(taken, _logits(output, activation, scores), name=ARCHITECTURE)


@dataclass(frozen=True)
class Adopted:
    """A network that was adopted, and the classes that it tells."""

    model: keras.Model
    labels: tuple[str, ...]

    def row(self, columns: Mapping) -> ImageVariant:
        """In the place of a row of a family, whose columns it has none of."""
        known = {field.name for field in fields(ImageVariant)} - FIXED
        for name in columns:
            if name not in known:
                raise unknown("column of an adopted network", name, known)
        row = ImageVariant(paper="", year=0, **{"min_size": 1, "image": self.model.input_shape[1:], **columns})
        if problem := row.problem():
            raise ModelError(f"an adopted network {problem}")
        if row.image != self.model.input_shape[1:]:
            raise ModelError(f"an adopted network takes images of {self.model.input_shape[1:]}, received {row.image}")
        return row

    def build(self, row: ImageVariant, labels: tuple[str, ...]) -> keras.Model:
        """The network itself, or for other classes with a new head on what its last layer with weights sees."""
        if labels == self.labels:
            return self.model
        seen = next(layer for layer in reversed(self.model.layers) if layer.weights).input
        x = seen if len(seen.shape) == 2 else layers.Flatten(name="head_flatten")(seen)
        x = layers.Dropout(row.dropout, name="head_dropout")(x) if row.dropout else x
        return keras.Model(self.model.input, layers.Dense(len(labels), name=HEAD)(x), name=ARCHITECTURE)


def copied(model: keras.Model, x):
    """What `model` says to x, by copies of its layers, those of models inside of it among them."""
    copies: dict[int, tuple[keras.Layer, keras.Layer]] = {}
    names, activated = {TAKEN, HEAD}, {}

    def named(operation) -> str:
        others = (f"{operation.name}_{i}" for i in count(1))
        name = next(name for name in chain([operation.name], others) if name not in names)
        names.add(name)
        return name

    def copy(operation):
        if isinstance(operation, keras.Model) or not isinstance(operation, keras.Layer):
            return operation
        if id(operation) not in copies:
            name = named(operation)
            if isinstance(operation, layers.Conv2D) and operation.groups > 1:
                made, activated[name] = _grouped(operation, name), operation.activation
            else:
                made = operation.__class__.from_config(operation.get_config() | {"name": name})
            copies[id(operation)] = operation, made
        return copies[id(operation)][1]

    def call(operation, *args, **kwargs):
        if isinstance(operation, keras.Model):
            return run(operation, args[0])
        if not isinstance(operation, keras.Layer):
            return _computed(operation, named(operation), args, kwargs)
        y = operation(*args, **kwargs)
        return layers.Activation(activated[operation.name])(y) if operation.name in activated else y

    def run(model, x):
        return _graph(model)._run_through_graph(x, operation_fn=copy, call_fn=call)

    found = keras.tree.flatten(run(model, x))[0]
    for layer, made in copies.values():
        made.set_weights(layer.get_weights())
    return found


def _computed(operation, name: str, args: tuple, options: dict):
    """What an operation that is no layer gives, by a layer."""
    constants = {place: value for place, value in enumerate(args) if not _is_tensor(value)}
    tensors = [value for place, value in enumerate(args) if place not in constants]
    if not tensors or any(map(_is_tensor, options.values())):
        raise ModelError(f"{operation.name} takes tensors by name, which cannot be adopted")
    apart = len(tensors) > 1
    return Computed(operation, constants, options, apart, name=name)(tensors if apart else tensors[0])


def _is_tensor(value) -> bool:
    return any(isinstance(part, keras.KerasTensor) for part in keras.tree.flatten(value))


def _grouped(layer: layers.Conv2D, name: str) -> GroupedConv2D:
    """`layer` without its activation, by an operator that TF Serving and ONNX have."""
    sides = [{*layer.kernel_size}, {*layer.strides}, {*layer.dilation_rate}]
    if any(len(values) > 1 for values in sides) or layer.padding not in ("same", "valid"):
        raise ModelError(f"{layer.name} is a convolution in {layer.groups} groups with kernel, strides or dilation "
                         "that are not square; such a network cannot be adopted")  # fmt: skip
    size, stride, dilation = (values.pop() for values in sides)
    return GroupedConv2D(layer.filters, size, strides=stride, padding=layer.padding, dilation=dilation,
                         groups=layer.groups, use_bias=layer.use_bias, name=name)  # fmt: skip


def _leaves(model: keras.Model):
    for layer in model.layers:
        yield from _leaves(layer) if isinstance(layer, keras.Model) else (layer,)


def _graph(model: keras.Model):
    """A model that can be gone through layer by layer."""
    graph = model._functional if isinstance(model, keras.Sequential) else model
    if not hasattr(graph, "_run_through_graph"):
        raise ModelError(f"{model.name} is no graph of layers, but code; build it by Keras's functional API")
    return graph


def _shape(model: keras.Model, image: tuple[int, int] | None) -> tuple[int, int, int]:
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4 or model.inputs[0].shape[3] not in (1, 3):
        told = ", ".join(str(tuple(tensor.shape)) for tensor in model.inputs)
        raise ModelError(f"{model.name} takes {told}; one input of images (n, height, width, 1 or 3) can be adopted")
    if len(model.outputs) != 1 or len(model.outputs[0].shape) != 2 or (model.outputs[0].shape[1] or 0) < 2:
        told = ", ".join(str(tuple(tensor.shape)) for tensor in model.outputs)
        raise ModelError(f"{model.name} gives {told}; scores (n, classes) of two classes or more can be adopted")
    height, width, channels = model.inputs[0].shape[1:]
    given = image or (None, None)
    for own, wanted in zip((height, width), given, strict=True):
        if own is not None and wanted is not None and own != wanted:
            raise ModelError(f"{model.name} takes images of {height}x{width}, received {given[0]}x{given[1]}")
    height, width = height or given[0], width or given[1]
    if height is None or width is None:
        raise ModelError(f"{model.name} takes images of any size; say which by image, such as 224x224")
    return height, width, channels


def _range(model: keras.Model, pixels: str | None) -> str:
    if pixels is not None and pixels not in RANGES:
        raise unknown("range of pixels", pixels, RANGES)
    first = [layer for layer in islice(_leaves(model), NEAR_INPUT + 1) if isinstance(layer, SCALING_LAYERS)]
    if pixels is None and not first:
        raise ModelError(f"{model.name} has no layer that scales pixels; say by pixels what it was trained on: "
                         f"{', '.join(RANGES)}")  # fmt: skip
    return pixels or WHOLE


def _scaled(x, pixels: str):
    if pixels == WHOLE:
        return x
    if pixels in SCALINGS:
        return layers.Rescaling(*SCALINGS[pixels], name="adopted_scale")(x)
    if pixels == TORCH:
        scale = [1 / (255 * std) for std in TORCH_STD]
        offset = [-mean / std for mean, std in zip(TORCH_MEAN, TORCH_STD, strict=True)]
        return layers.Rescaling(scale, offset, name="adopted_scale")(x)
    turned = layers.Conv2D(3, 1, trainable=False, name="adopted_scale")  # runs in integers, unlike a gather of channels
    turned.build(x.shape)
    turned.set_weights([np.eye(3)[::-1][None, None], -np.array(CAFFE_MEAN)])
    return turned(x)


def _before(tensor):
    """What the operation that gives `tensor` takes."""
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index].input_tensors[0]


def _activation(layer) -> str:
    if isinstance(layer, layers.Softmax):
        return "softmax"
    own = getattr(layer, "activation", None)
    return keras.activations.serialize(own) if own is not None and callable(own) else "linear"


def _logits(output, activation: str, scores: str | None):
    """`output` as logits, of a layer by the name of HEAD."""
    last = output._keras_history.operation
    if isinstance(last, layers.Dense) and (activation == "softmax" or scores == "logits"):
        seen = _before(output)
        head = layers.Dense(last.units, use_bias=last.use_bias, name=HEAD)
        head.build(seen.shape)
        head.set_weights(last.get_weights())
        return head(seen)
    if activation == "softmax" and isinstance(last, layers.Softmax | layers.Activation):
        return layers.Activation("linear", name=HEAD)(_before(output))
    if scores == "logits":
        return layers.Activation("linear", name=HEAD)(output)
    return LogProbabilities(name=HEAD)(output)
