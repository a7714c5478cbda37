"""Captions: features of an image, then words by a long short-term memory.

Vinyals et al., Show and Tell, arXiv:1411.4555, section 3.1 and equations 10 to 12: the image's features, in the size of
a word's vector, are the first input of an LSTM; behind it stand the words, each told by those in front of it.
`captioner` is that on a few convolutions that learn from random weights, for small images; any other backbone gets the
same head.

Where we differ: features are normalized by batch normalization, the mark in front of the first word is the one behind
the last, and its vector is zero. Dropout, where `dropout` asks for it, is in front of the LSTM and behind it.
"""

from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.architectures.blocks import BN_MOMENTUM, conv_bn, image_input
from cnn_app.layers import WordTable
from cnn_app.registry import ImageVariant

LEAST = 0.01  # variance of a feature: what hardly differs is not blown up, or float16 weights would be heard
EMBEDDING, UNITS, LENGTH = 512, 512, 20  # section 4.3.1: both of 512; most words of a caption


@dataclass(frozen=True, kw_only=True)
class Captioner(ImageVariant):
    task: str = "captioning"
    image: tuple[int, int, int] = (64, 64, 3)
    min_size: int = 8
    channels: tuple[int, ...] = (32, 64, 128)  # of 3x3 convolutions of stride 2 with batch normalization

    def problem(self) -> str | None:
        if not self.channels or min(self.channels) < 1:
            return f"needs channels of at least one convolution, received {list(self.channels)}"
        if self.classes < 3:
            return f"needs the end, the unknown word and another, so classes of 3 or more, received {self.classes}"
        return super().problem()


VARIANTS = {"captioner": Captioner(paper="1411.4555", year=2014)}


def build(spec: Captioner, sizes: tuple[int, int, int] = (EMBEDDING, UNITS, LENGTH)) -> keras.Model:
    """Pixels, and words in front of each -> {"logits": of words (N, length, classes), "code": (N, embedding)}."""
    image, x = image_input(spec)
    x = list(features(spec, x).values())[-1]
    return captioned(image, layers.GlobalAveragePooling2D(name="pool")(x), spec, sizes)


def features(spec: Captioner, x) -> dict:
    """Maps by name, `conv{k}` of stride 2**k."""
    taps = {}
    for number, width in enumerate(spec.channels, start=1):
        taps[f"conv{number}"] = x = conv_bn(x, width, 3, stride=2, act="relu", name=f"conv{number}")
    return taps


def captioned(image, pooled, spec: ImageVariant, sizes: tuple[int, int, int]) -> keras.Model:
    """The words behind features (N, C). sizes: of a word's vector, units of the LSTM, most words."""
    width, units, length = sizes
    words = keras.Input((length,), dtype="int32", name="words")
    # Features share a large mean, which hides what differs: without this all images get one caption.
    norm = layers.BatchNormalization(momentum=BN_MOMENTUM, epsilon=LEAST, center=False, scale=False, name="head_norm")
    code = layers.Dense(width, name="head_code")(norm(pooled))
    table = WordTable(spec.classes, width, reach=0.1, name="head_words")
    lstm = layers.LSTM(units, return_sequences=True, name="head_lstm")
    scorer = layers.Dense(spec.classes, name="logits")
    logits = taught(code, words, table, lstm, scorer, spec.dropout)
    return keras.Model([image, words], {"logits": logits, "code": code})


def taught(code, words, table, lstm, scorer, dropout: float = 0.0):
    """Logits (N, length, classes) of the word at each place, by code (N, width) and words in front (N, length)."""
    first = layers.Reshape((1, code.shape[-1]), name="head_first")(code)
    row = layers.Concatenate(axis=1, name="head_row")([first, table(words)])
    row = layers.Dropout(dropout, name="head_drop_in")(row) if dropout else row
    told = layers.Cropping1D((1, 0), name="head_told")(lstm(row))  # without what is said of the image alone
    told = layers.Dropout(dropout, name="head_drop_out")(told) if dropout else told
    return scorer(told)
