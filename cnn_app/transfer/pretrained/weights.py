"""Published weights into a network of ours: find whose names they have, check every tensor, set them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
from keras import layers

from cnn_app import registry
from cnn_app.errors import CnnAppError, ModelError
from cnn_app.heads import AUXILIARY
from cnn_app.layers import GroupedConv2D
from cnn_app.runtimes.keras_model import load
from cnn_app.transfer import OF_HEADS, copy_weights, is_head
from cnn_app.transfer.pretrained import conventions, files
from cnn_app.transfer.pretrained.naming import Naming, Network, candidates, own

SHOWN = 4  # names in a message
WIDENED = ("last_conv", "last_bn")  # layers of classifiers that heads of ours may do without


@dataclass(frozen=True)
class Loaded:
    source: str  # whose names and scaling: "torchvision resnet"
    tensors: int  # how many were set
    new_head: bool  # the last layer stayed as it was: the file has other classes


def load_weights(model: keras.Model, path: str | os.PathLike[str]) -> Loaded:
    """Set the weights in the file at `path`, and what they expect: scaling, padding, epsilon, place of strides.

    The model is changed in place, or not at all; its `resizing` has the columns of how images were brought to its
    size where the weights were measured. Raises ModelError for a file that does not fit it.
    """
    path, stored = Path(path), model
    if path.is_dir() or path.suffix == ".keras":
        stored = load(path)
        if _is_alike(stored, model):
            return _from_own(stored, model, path)
        tensors = {f"{layer.name}/{weight.name}": keras.ops.convert_to_numpy(weight)
                   for layer in stored.layers for weight in layer.weights}  # fmt: skip
    else:
        tensors = files.read(path)
    naming = _naming(model, tensors, path)
    values, used = _assign(model, naming, tensors, path)
    for layer, weights in values.items():
        model.get_layer(layer).set_weights(weights)
    conventions.apply(model, naming.conventions)
    if naming.source == own.SOURCE:
        conventions.copy(stored, model)
    share = naming.conventions.crop_share
    model.resizing = {"resize": registry.CROP, "crop_share": share} if share else {}
    return Loaded(naming.source, used, new_head=any(is_head(x.name) and x.name not in values for x in model.layers))


def _is_alike(stored: keras.Model, model: keras.Model) -> bool:
    """Whether it has every layer of `model`, but those of a head, with kernels of as many axes."""
    axes = {layer.name: [len(weight.shape) for weight in layer.weights] for layer in stored.layers}
    return all(axes.get(layer.name) == [len(weight.shape) for weight in layer.weights]
               for layer in model.layers if layer.weights and not is_head(layer.name))  # fmt: skip


def _from_own(stored: keras.Model, model: keras.Model, path: Path) -> Loaded:
    names = {layer.name for layer in model.layers}
    left = [x.name for x in stored.layers if x.weights and x.name not in names and not x.name.startswith(AUXILIARY)]
    if left:
        raise ModelError(f"{path} does not fit {model.name} with its columns: {len(left)} layers left over "
                         f"({_list(left)})")  # fmt: skip
    shapes = {x.name: [tuple(w.shape) for w in x.weights] for x in stored.layers}
    new = any(is_head(x.name) and shapes.get(x.name) != [tuple(w.shape) for w in x.weights]
              for x in model.layers if x.weights)  # fmt: skip
    copy_weights(stored, model, new_head=new)
    return Loaded("cnn_app", len(stored.weights), new)


def _naming(model: keras.Model, tensors: dict[str, np.ndarray], path: Path) -> Naming:
    """The spelling that explains the most tensors."""
    try:
        family, _ = _trunk(model)
    except CnnAppError as error:
        raise ModelError(f"{model.name!r} is no network of create_model, whose names for weights are known") from error
    network = Network(
        family,
        tuple(layer.name for layer in _layers(model)),
        tuple(layer.name for layer in model.layers if not layer.name.startswith(OF_HEADS)),
        frozenset(layer.name for layer in model.layers if isinstance(layer, GroupedConv2D)),
    )
    known = candidates(network)
    if len(network.names) < len(model.layers) and not set(WIDENED) & set(network.layers):
        known = candidates(replace(network, layers=network.layers + WIDENED)) + known
    keys = {id(naming): {naming.key(layer.name, w.name) for layer in _layers(model) for w in layer.weights}
            for naming in known}  # fmt: skip
    best = max(known, key=lambda naming: len(keys[id(naming)] & set(tensors)), default=None)
    if best is None or not keys[id(best)] & set(tensors):
        sources = ", ".join(dict.fromkeys(naming.source for naming in known)) or "none"
        raise ModelError(f"{path} has no tensor of {model.name}, but {_list(list(tensors))}; known for this network "
                         f"with its columns: {sources}")  # fmt: skip
    return best


def _assign(model, naming: Naming, tensors, path: Path) -> tuple[dict[str, list[np.ndarray]], int]:
    """Weights for every layer, but for a head of other classes, and how many of the tensors they are."""
    unread = {name for name in tensors if not name.startswith(naming.ignored)}
    biases = {layer: key for layer in naming.modules if (key := naming.key(layer, "bias")) in tensors}
    normalized = {layer.name: conventions.producer(layer).name for layer in model.layers if _is_norm(layer)}
    biased = any(name in biases for name in normalized.values())
    values: dict[str, list[np.ndarray]] = {}
    missing, wrong, kept = [], [], 0
    ours = len(_layers(model)) < sum(bool(layer.weights) for layer in model.layers)
    for layer in _layers(model):
        keys = [naming.key(layer.name, weight.name) for weight in layer.weights]
        zero = layer.name in naming.unbiased or (layer.name in normalized.values() and not biased)
        absent = [key for key, w in zip(keys, layer.weights, strict=True)
                  if key not in tensors and not (zero and w.name == "bias")]  # fmt: skip
        unread.difference_update(keys)
        if absent:
            missing += [] if is_head(layer.name) and len(absent) == len(keys) else absent
            continue
        found = [_converted(tensors[key], layer, w, naming) if key in tensors else np.zeros(w.shape, np.float32)
                 for key, w in zip(keys, layer.weights, strict=True)]  # fmt: skip
        shapes = [(value.shape, tuple(w.shape)) for value, w in zip(found, layer.weights, strict=True)]
        other_head = ours or all(a[:-1] == b[:-1] and a[-1] != b[-1] for a, b in shapes)
        if is_head(layer.name) and other_head and any(a != b for a, b in shapes):
            kept += sum(key in tensors for key in keys)
        else:
            wrong += [f"{layer.name} {_size(a)} for {_size(b)}" for a, b in shapes if a != b]
            values[layer.name] = found
    for norm, before in normalized.items():
        if norm in values and biases.get(before) in unread:  # the mean of x + bias is that of x and the bias
            mean = [weight.name for weight in model.get_layer(norm).weights].index("moving_mean")
            bias = np.asarray(tensors[biases[before]], np.float32)
            wrong += [f"the bias of {before} {_size(bias.shape)}"] if bias.shape != values[norm][mean].shape else []
            values[norm][mean] = values[norm][mean] - (bias if not wrong else 0)
            unread.discard(biases[before])
    if ours:  # nothing classifies whole images as published
        names = {layer.name for layer in model.layers}
        left = tuple(f"{module}{end}" for layer, module in naming.modules.items() if layer not in names for end in "./")
        unread = {name for name in unread - _dense(tensors, unread) if not name.startswith(left)}
    _refuse(model, naming, path, missing, sorted(unread), wrong)
    if naming.conventions.bgr:
        first = next(layer for layer in model.layers if layer.weights)
        values[first.name][0] = values[first.name][0][:, :, ::-1]
    broken = [layer for layer, weights in values.items() if not all(np.isfinite(value).all() for value in weights)]
    if broken:
        raise ModelError(f"{path} has NaN or infinity in the tensors of {_list(broken)}; it is damaged")
    return values, sum(not name.startswith(naming.ignored) for name in tensors) - kept


def _dense(tensors: dict[str, np.ndarray], names: set[str]) -> set[str]:
    """Those of `names` that are kernels of fully connected layers, and their biases."""
    layers_of = {name: re.split(r"[./](?=[^./]*$)", name)[0] for name in names}
    dense = {layer for name, layer in layers_of.items() if np.ndim(tensors[name]) == 2}
    return {name for name, layer in layers_of.items() if layer in dense}


def _layers(model: keras.Model) -> list[keras.Layer]:
    """Those whose weights a file of others may have."""
    _, starts = _trunk(model)
    return [x for x in model.layers if x.weights and x.name.startswith(starts) and not x.name.startswith(OF_HEADS)]


def _trunk(model: keras.Model) -> tuple[str, tuple[str, ...]]:
    """The family whose published weights fit, and how the names of its layers begin."""
    module = registry.family(model.name)
    return getattr(module, "TRUNK", (module.__name__.rpartition(".")[2], ("",)))


def _is_norm(layer: keras.Layer) -> bool:
    return isinstance(layer, layers.BatchNormalization)


def _converted(value: np.ndarray, layer: keras.Layer, weight, naming: Naming) -> np.ndarray:
    """A tensor in the order of axes that `layer` has."""
    value = np.asarray(value, np.float32)
    if weight.name != "kernel":
        return value
    dense = isinstance(layer, layers.Dense)
    if value.ndim == 2 and not dense and value.size == np.prod(weight.shape):  # fully connected where ours slides
        height, width, channels, units = weight.shape
        if naming.style == "torch":
            return value.reshape(units, channels, height, width).transpose(2, 3, 1, 0)
        return value.reshape(weight.shape)
    if naming.style == "torch":
        if dense and value.ndim == 2 and (maps := _flattened(layer)) is not None:
            height, width, channels = maps
            if value.shape[1] == height * width * channels:
                value = value.reshape(len(value), channels, height, width)
        value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
        if isinstance(layer, layers.DepthwiseConv2D) and value.ndim == 4:
            value = value.transpose(0, 1, 3, 2)
    if dense and value.ndim == 4:
        return value.reshape(-1, value.shape[-1])
    return value[None, None] if value.ndim == 2 and not dense else value  # another size, which is told


def _flattened(layer: keras.Layer) -> tuple[int, int, int] | None:
    """The maps (H, W, C) whose positions `layer` sees in one row; None if it sees none."""
    before = conventions.producer(layer)
    while isinstance(before, (layers.Dropout, layers.Activation, layers.ReLU)):
        before = conventions.producer(before)
    flat = isinstance(before, layers.Flatten) and len(before.input.shape) == 4
    return tuple(before.input.shape[1:]) if flat else None


def _refuse(model, naming: Naming, path: Path, missing: list, left: list, wrong: list) -> None:
    """One line with everything that does not fit, if there is anything."""
    parts = [
        f"{len(names)} {what} ({_list(names)})"
        for what, names in (("missing", missing), ("left over", left), ("of another shape", wrong))
        if names
    ]
    if parts:
        raise ModelError(f"{path} does not fit {model.name} with its columns, read as {naming.source}: "
                         f"{'; '.join(parts)}")  # fmt: skip


def _list(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
