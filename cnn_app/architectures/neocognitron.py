"""Neocognitron: simple cells detect, complex cells blur, in turn.

Fukushima: Neocognitron: a self-organizing neural network model for a mechanism of pattern recognition unaffected by
shift in position, Biological Cybernetics 36, 1980, Figure 2: three modules of an S-layer and a C-layer, 24 planes
each. A cell of an S-plane sees 5x5 positions of all planes in front of it and shares its weights with its plane; a
cell of a C-plane sees 5x5 positions of its own S-plane, in the last module the whole plane.

We differ in six places. Weights are learned by gradient instead of by self-organization. Shunting inhibition, by which
an S-cell divides what excites it by the mean activity in sight, is a learned threshold per plane. C-cells have equal
weights, neither inhibition nor saturation. Positions halve with each module, where the paper's planes have 16, 10, 8,
6, 2 and 1 cells along a side. Windows at the border see zeros. A linear layer classifies the last C-cells, where the
paper takes the strongest of them.
"""

from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.architectures.blocks import classifier, conv, image_input, pad, squeeze_excite
from cnn_app.registry import ImageVariant

CELL = 5  # positions along a side that a cell sees


@dataclass(frozen=True, kw_only=True)
class Neocognitron(ImageVariant):
    planes: tuple[int, ...] = (24, 24, 24)  # of each module
    se_reduction: int | None = None


VARIANTS = {
    "neocognitron": Neocognitron(paper="Fukushima 1980", year=1980, image=(32, 32, 1), classes=10, min_size=4),
}


def build(spec: Neocognitron) -> keras.Model:
    """Pixels -> logits (N, classes). The last C-layer is the pool over whole planes."""
    image, x = image_input(spec)
    return keras.Model(image, classifier(features(spec, x)[f"us{len(spec.planes)}"], spec))


def features(spec: Neocognitron, x) -> dict:
    """Maps by the paper's names: `us{k}` has stride 2**(k-1), `uc{k}` 2**k; there is no last `uc`."""
    taps = {}
    for module, planes in enumerate(spec.planes, start=1):
        x = taps[f"us{module}"] = simple_cells(x, planes, spec.se_reduction, name=f"us{module}")
        if module < len(spec.planes):
            x = taps[f"uc{module}"] = complex_cells(x, name=f"uc{module}")
    return taps


def simple_cells(x, planes, se_reduction, *, name):
    """Detection: one kernel and one threshold per plane, rectified."""
    x = conv(x, planes, CELL, bias=True, name=name)
    x = layers.ReLU(name=f"{name}_relu")(x)
    return squeeze_excite(x, se_reduction, name=f"{name}_se") if se_reduction else x


def complex_cells(x, *, name):
    """Tolerance to position: the mean of a window of each plane at every other position."""
    x, padding = pad(x, CELL, 2, "symmetric", name=name)
    return layers.AveragePooling2D(CELL, 2, padding=padding, name=f"{name}_blur")(x)
