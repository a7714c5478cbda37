"""Weights that were learned elsewhere: loading, freezing, fine-tuning, deep features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnn_app.errors import ModelError, unknown

if TYPE_CHECKING:
    import os

    import keras

    from cnn_app.transfer.pretrained.weights import Loaded

HEAD = "logits"  # the layer whose shape follows the classes
RANGES = WHOLE, SHARES, SIGNED, TORCH, CAFFE = "0..255", "0..1", "-1..1", "imagenet", "caffe"  # of pixels: see adoption
SCORES = ("logits", "probabilities")
OF_HEADS = "head_"  # what the names of layers begin with that a head has beside it


def copy_weights(source: keras.Model, target: keras.Model, *, new_head: bool = False) -> None:
    """Copy by layer name and shape; every layer of `target` with weights must find its own, but a new head.

    What the weights expect of the graph, such as scaling and padding, comes with them.
    """
    from cnn_app.transfer.pretrained import conventions

    found = {}
    for layer in target.layers:
        if not layer.weights or (new_head and is_head(layer.name)):
            continue
        try:
            weights = source.get_layer(layer.name).get_weights()
        except ValueError as error:
            raise ModelError(
                f"the weights of {source.name} have no layer {layer.name!r}; {target.name} needs it"
            ) from error
        if [w.shape for w in weights] != [tuple(w.shape) for w in layer.weights]:
            shapes = f"{[w.shape for w in weights]} instead of {[tuple(w.shape) for w in layer.weights]}"
            raise ModelError(f"the weights of {source.name} do not fit {target.name} at {layer.name!r}: {shapes}")
        found[layer.name] = weights
    for name, weights in found.items():
        target.get_layer(name).set_weights(weights)
    conventions.copy(source, target)


def load_weights(model: keras.Model, path: str | os.PathLike[str]) -> Loaded:
    """Set published weights, or a model of ours, and what they expect of the graph: see `pretrained.weights`."""
    from cnn_app.transfer.pretrained.weights import load_weights

    return load_weights(model, path)


def layers_at(model: keras.Model, place: str) -> list[keras.Layer]:
    """The layer of that name, or those of the stage or unit of that name: stage3 has stage3_unit2_b_conv."""
    found = [layer for layer in model.layers if layer.name == place or layer.name.startswith(f"{place}_")]
    if not found:
        parts = [layer.name.split("_") for layer in model.layers]
        raise unknown("layer or stage", place, {"_".join(part[:n]) for part in parts for n in range(1, len(part) + 1)})
    return found


def is_head(name: str) -> bool:
    """Whether a layer of that name belongs to the head, or to an auxiliary classifier."""
    return name == HEAD or name.endswith(f"_{HEAD}") or name.startswith(OF_HEADS)
