"""Autoencoders: an image through a code of few numbers, and back.

`autoencoder`: the idea is that of Hinton and Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks,
Science 313, 2006: Figure 1 has an encoder, a small code layer without a non-linearity, and a decoder. Theirs are fully
connected and start as restricted Boltzmann machines; ours are convolutional and start at random.

`vae`: Kingma and Welling, arXiv:1312.6114. The encoder gives mean and log variance of the code, the decoder takes a
draw in training and the mean in inference. `beta` weighs the divergence from the prior (Higgins et al., beta-VAE, ICLR
2017, equation 4); 1 is the paper's. Its appendix C.1 has Bernoulli pixels, which we have, too; its networks have one
fully connected hidden layer, ours are those of `autoencoder`.

Each convolution of the encoder is 4x4 of stride 2 with ReLU, so that in the decoder, its mirror, the windows of the
transposed ones overlap evenly; the last gives the logits of pixels, whose sigmoid is the image in [0, 1].
"""

import math
from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.architectures.blocks import image_input
from cnn_app.layers import GaussianDivergence, GaussianSampling
from cnn_app.registry import ImageVariant

KERNEL = 4


@dataclass(frozen=True, kw_only=True)
class Autoencoder(ImageVariant):
    task: str = "reconstruction"
    image: tuple[int, int, int] = (28, 28, 1)
    min_size: int = 1  # problem() knows which sizes come out even
    classes: int = 1  # there are none; it stays 1
    dropout: float = 0.0  # there is none; it stays 0
    pixel_mean: float | tuple[float, ...] = 0.0
    pixel_std: float | tuple[float, ...] = 255.0
    code: int = 32  # numbers of the code
    channels: tuple[int, ...] = (16, 64)  # of each convolution of stride 2, and back: few where maps are large
    variational: bool = False  # the code is a normal distribution
    beta: float = 1.0  # weight of the divergence, where the code is one

    def problem(self) -> str | None:
        if self.classes != 1 or self.dropout:
            return f"has neither classes nor dropout, received classes={self.classes} and dropout={self.dropout:g}"
        if self.code < 1 or not self.channels or min(self.channels) < 1:
            return (f"needs a code of one number or more, and channels of at least one convolution, "
                    f"received {self.code} and {list(self.channels)}")  # fmt: skip
        if not (math.isfinite(self.beta) and self.beta >= 0) or (self.beta != 1 and not self.variational):
            return f"has a beta of at least 0 where it is variational, received {self.beta:g}"
        step = 2 ** len(self.channels)
        if any(side % step or side < step for side in self.image[:2]):
            received = "x".join(map(str, self.image))
            return f"halves images {len(self.channels)} times, so sides are multiples of {step}, received {received}"
        return super().problem()


VARIANTS = {
    "autoencoder": Autoencoder(paper="Hinton and Salakhutdinov 2006", year=2006),
    "vae": Autoencoder(paper="1312.6114", year=2013, variational=True),
}


def build(spec: Autoencoder) -> keras.Model:
    """Pixels -> {"logits": of pixels (N, h, w, channels), "code": (N, code)}, and "aux_kl" (N,) if variational."""
    image, x = image_input(spec)
    taps = features(spec, x)
    code, last = taps["code"], taps[f"conv{len(spec.channels)}"]
    if not spec.variational:
        return keras.Model(image, {"logits": decoded(code, last.shape[1:], spec), "code": code})
    spread = layers.Dense(spec.code, name="log_variance")(layers.Flatten(name="encoder_flat_variance")(last))
    drawn = GaussianSampling(name="draw")([code, spread])
    divergence = GaussianDivergence(spec.beta, name="divergence")([code, spread])
    return keras.Model(image, {"logits": decoded(drawn, last.shape[1:], spec), "code": code, "aux_kl": divergence})


def features(spec: Autoencoder, x) -> dict:
    """The encoder's maps by name: `conv{k}` of stride 2**k; and `code` (N, code), the means if it is variational."""
    taps = {}
    for number, width in enumerate(spec.channels, start=1):
        x = layers.Conv2D(width, KERNEL, 2, padding="same", activation="relu", kernel_initializer="he_normal",
                          name=f"encoder_conv{number}")(x)  # fmt: skip
        taps[f"conv{number}"] = x
    return taps | {"code": layers.Dense(spec.code, name="code")(layers.Flatten(name="encoder_flat")(x))}


def decoded(code, sides, spec: Autoencoder):
    """Codes (N, code) -> logits of pixels, by way of maps of `sides` (h, w, channels)."""
    x = layers.Dense(math.prod(sides), activation="relu", kernel_initializer="he_normal", name="decoder_dense")(code)
    x = layers.Reshape(sides, name="decoder_map")(x)
    for number in range(len(spec.channels) - 1, 0, -1):
        x = layers.Conv2DTranspose(spec.channels[number - 1], KERNEL, 2, padding="same", activation="relu",
                                   kernel_initializer="he_normal", name=f"decoder_up{number + 1}")(x)  # fmt: skip
    return layers.Conv2DTranspose(spec.image[2], KERNEL, 2, padding="same", name="logits")(x)
