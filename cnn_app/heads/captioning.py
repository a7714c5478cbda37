"""Words one after the other, on the deepest features of any network that sees images.

While training the network takes the true words in front of each place, too; deployed it takes the image alone and says
at each place what is most probable. Its parts say an image's first state, and what may come behind a word: with these
others than the most probable words can be followed.
"""

from __future__ import annotations

import keras
from keras import layers

from cnn_app.architectures.blocks import image_input
from cnn_app.architectures.captioner import EMBEDDING, LENGTH, UNITS, captioned, taught
from cnn_app.errors import ModelError
from cnn_app.heads import CODE, MAIN, needed
from cnn_app.layers import GreedyWords

OUTPUTS = TOKENS, SCORES = ("tokens", "scores")  # of every exported file
WORDS, WORD, STATE = "words", "word", ("hidden", "memory")  # inputs, and what an LSTM remembers
AFTER = ("next_hidden", "next_memory")  # the same behind a word: an output cannot have the name of an input in ONNX
GREEDY = "caption"  # the layer that says words
FORM = f"{EMBEDDING}-{UNITS}-{LENGTH}"  # numbers of a word, units, most words


def build(family, row, form: str = FORM) -> keras.Model:
    """Pixels, and the words in front of each place -> {"logits": (N, length, classes), "code": (N, embedding)}."""
    if row.input != "image" or row.task not in ("classification", "captioning"):
        raise ModelError(
            f"{row.paper}: this network is one for {row.task} of {row.input}s, and has no head for captions"
        )
    image, x = image_input(row)
    *_, deepest = family.features(row, x).values()
    if len(deepest.shape) == 4:
        deepest = layers.GlobalAveragePooling2D(name="pool")(deepest)
    return captioned(image, deepest, row, tuple(map(int, form.split("-"))))


def deployed(model: keras.Model) -> keras.Model:
    """Image -> {"tokens": int32 (n, length), "scores": (n, length)}, as layers.GreedyWords has them."""
    table, lstm, scorer = (model.get_layer(name) for name in ("head_words", "head_lstm", MAIN))
    length = model.output[MAIN].shape[1]
    found = GreedyWords(table, lstm, scorer, length, name=GREEDY)(model.output[CODE])
    said = {name: layers.Identity(name=name)(found[name]) for name in OUTPUTS}
    return keras.Model(needed(model, model.output[CODE]), said, name=model.name)


def parts(model: keras.Model) -> dict[str, keras.Model]:
    """`encode`, image -> {"hidden", "memory"}, (n, units) each, and `step`, these and a word (n,) -> {"scores": of the
    next one (n, words), "next_hidden", "next_memory"}, of a deployed model.
    """
    greedy = model.get_layer(GREEDY)
    state = [keras.Input((greedy.lstm.units,), name=name) for name in STATE]
    word = keras.Input((), dtype="int32", name=WORD)
    scores, *after = Stepping(greedy, name="head_step")([word, *state])
    begun = Beginning(greedy, name="head_begin")(greedy.input)
    return {
        "encode": keras.Model(model.input, dict(zip(STATE, begun, strict=True)), name="encode"),
        "step": keras.Model([word, *state], {SCORES: scores, **dict(zip(AFTER, after, strict=True))}, name="step"),
    }


def likelihood(model: keras.Model) -> keras.Model:
    """Image's code, and words in front of each place -> logits (n, length, words), of a deployed model."""
    greedy = model.get_layer(GREEDY)
    code = keras.Input(greedy.input.shape[1:], name=CODE)
    words = keras.Input((greedy.length,), dtype="int32", name=WORDS)
    return keras.Model([code, words], taught(code, words, greedy.table, greedy.lstm, greedy.scorer))


class Stepping(layers.Layer):
    """A step of GreedyWords: [words (N,), hidden, memory] -> [scores (N, words), hidden, memory]."""

    def __init__(self, greedy: GreedyWords, **base):
        super().__init__(**base)
        self.greedy = greedy

    def call(self, given):
        words, *state = given
        scores, state = self.greedy.step(words, state)
        return [scores, *state]


class Beginning(layers.Layer):
    """Codes (N, width) -> [hidden, memory], what GreedyWords begins with."""

    def __init__(self, greedy: GreedyWords, **base):
        super().__init__(**base)
        self.greedy = greedy

    def call(self, code):
        return self.greedy.begun(code)
