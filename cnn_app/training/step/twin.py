"""A network's copy that is trained in its place: with weights of its own, and in mixed precision."""

from __future__ import annotations

import keras

from cnn_app.layers import LocalResponseNormalization

FULL = "float32"
EXACT = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Softmax,
    LocalResponseNormalization,
)


def twin(model: keras.Model, precision: str = FULL) -> keras.Model:
    """Layers that normalize, that give an output, or that stand in front of all weights stay in float32; so do weights.

    What a layer in float32 gives, the next one in less rounds for itself.
    """
    exact = _exact(model) if precision != FULL else set()

    def copied(layer):
        config = layer.get_config()
        if precision != FULL and isinstance(layer, keras.Layer) and layer.name not in exact:
            config["dtype"] = f"mixed_{precision}"
        return layer.__class__.from_config(config)

    copy = keras.models.clone_model(model, clone_function=copied)
    for ours, theirs in zip(copy.variables, model.variables, strict=True):
        ours.assign(keras.ops.copy(theirs))
    return copy


def _exact(model: keras.Model) -> set[str]:
    learning = [i for i, layer in enumerate(model.layers) if layer.trainable_weights]
    names = {layer.name for layer in model.layers[: learning[0]]} if learning else set()
    names |= {layer.name for layer in model.layers if isinstance(layer, EXACT)}
    return names | set(model.output_names)
