"""The perceptron: one unit, the posterior probability of a binary label.

Rosenblatt: The perceptron: a probabilistic model for information storage and organization in the brain,
Psychological Review 65(6), 1958, Figure 2 (first as Cornell Aeronautical Laboratory report 85-460-1, 1957).

We differ in three places: the response unit sees the retina itself, without a layer of randomly connected
association units between them; it is logistic where the paper has a threshold, so that its answer is a probability;
and it learns by the gradient of the cross-entropy instead of reinforcement. The logits are (0, z), whose softmax is
(1 - sigmoid(z), sigmoid(z)).
"""

from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.architectures.blocks import image_input, squeeze_excite
from cnn_app.errors import ModelError
from cnn_app.registry import ImageVariant


@dataclass(frozen=True, kw_only=True)
class Perceptron(ImageVariant):
    se_reduction: int | None = None


VARIANTS = {
    "perceptron": Perceptron(paper="Rosenblatt 1958", year=1958, image=(32, 32, 1), classes=2, min_size=1),
}


def build(spec: Perceptron) -> keras.Model:
    """Pixels -> logits (N, 2), the first of which is zero."""
    if spec.classes != 2:
        raise ModelError(f"perceptron: one unit tells two classes apart, received {spec.classes}; take lenet5 for more")
    image, x = image_input(spec)
    x = layers.Flatten(name="flatten")(features(spec, x)["retina"])
    if spec.dropout:
        x = layers.Dropout(spec.dropout, name="dropout")(x)
    z = layers.Reshape((1, 1), name="response")(layers.Dense(1, name="logits")(x))
    return keras.Model(image, layers.Flatten(name="pair")(layers.ZeroPadding1D((1, 0), name="pad")(z)))


def features(spec: Perceptron, x) -> dict:
    """`retina`: the image itself, as the unit sees it."""
    return {"retina": squeeze_excite(x, spec.se_reduction, name="retina_se") if spec.se_reduction else x}
