"""Weights that were learned elsewhere: copying, freezing, fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnn_app.errors import ModelError

if TYPE_CHECKING:
    import os

    import keras

    from cnn_app.transfer.weights import Loaded

HEAD = "logits"  # the layer whose shape follows the classes


def copy_weights(source: keras.Model, target: keras.Model, *, new_head: bool = False) -> None:
    """Copy by layer name and shape; every layer of `target` with weights must find its own, but a new head.

    What the weights expect of the graph, such as scaling and padding, comes with them.
    """
    from cnn_app.transfer import traits

    found = {}
    for layer in target.layers:
        if not layer.weights or (new_head and _is_head(layer.name)):
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
    traits.copy(source, target)


def load_weights(model: keras.Model, path: str | os.PathLike[str]) -> Loaded:
    """Set published weights, or a model of ours, and what they expect of the graph: see `transfer.weights`."""
    from cnn_app.transfer.weights import load_weights

    return load_weights(model, path)


def freeze(model: keras.Model, *, backbone: bool, batch_norm: bool) -> None:
    """Keep the backbone, or only its batch normalization (then in inference mode), as it is."""
    from keras.layers import BatchNormalization

    for layer in model.layers:
        norm = isinstance(layer, BatchNormalization)
        layer.trainable = _is_head(layer.name) or not (backbone or (norm and batch_norm))


def _is_head(name: str) -> bool:
    """The main head, or that of an auxiliary classifier."""
    return name == HEAD or name.endswith(f"_{HEAD}")
