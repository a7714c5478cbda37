"""The convolutional network for sentences: windows of words, and of each map the largest value over time.

Kim, arXiv:1408.5882, Figure 1 and section 3.1: windows of 3, 4 and 5 words, 100 maps each, ReLU, dropout 0.5, and
columns of the last layer no longer than 3; section 3.3: where the word vectors come from and whether they learn. A
sentence is `length` ids; 64 are the 56 words of the longest in MR and the author's four of padding at either end. Row
0 of the table is the padding and zero, row 1 stands for unknown words: of the 18,766 rows 18,765 are MR's vocabulary
in the paper (Table 1), where no word is unknown, so here the rarest goes without.

"rand" and "nonstatic" are the same network: the vectors of all but "rand" are read afterwards, by
`cnn_app.inputs.word_vectors`. With "multichannel" the paper adds what each filter gives on a table that learns and on
one that does not; a filter being linear, we add the vectors and convolve once. Weights start as Keras's do.
"""

from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.architectures.blocks import token_input
from cnn_app.layers import WordTable
from cnn_app.registry import Variant

EMBEDDINGS = {  # which tables a sentence is read from
    "rand": ("learned",),
    "static": ("fixed",),
    "nonstatic": ("learned",),
    "multichannel": ("fixed", "learned"),
}


@dataclass(frozen=True, kw_only=True)
class TextCNN(Variant):
    paper: str = "1408.5882"
    year: int = 2014
    input: str = "text"
    classes: int = 2
    dropout: float = 0.5
    length: int = 64  # ids of a sentence
    words: int = 18_766  # rows of the table: the padding, the unknown word, the vocabulary
    width: int = 300  # of a word vector
    embedding: str = "rand"
    windows: tuple[int, ...] = (3, 4, 5)  # words that a filter sees
    maps: int = 100  # filters of each window
    max_norm: float | None = 3.0  # of a class's weights

    def problem(self) -> str | None:
        if self.embedding not in EMBEDDINGS:
            return f"takes embedding {', '.join(EMBEDDINGS)}, received {self.embedding!r}"
        if min(self.width, self.maps) < 1 or self.words < 3:
            return (f"needs a width and maps of at least 1 and 3 words, "
                    f"received {self.width}, {self.maps} and {self.words}")  # fmt: skip
        if not self.windows or len({*self.windows}) < len(self.windows) or min(self.windows) < 1:
            return f"needs windows of one word or more, none twice, received {list(self.windows)}"
        if max(self.windows) > self.length:
            return f"needs sentences as long as its windows, {max(self.windows)}, received {self.length}"
        return super().problem()


VARIANTS = {"text_cnn": TextCNN()} | {
    f"text_cnn_{kind}": TextCNN(embedding=kind) for kind in ("static", "nonstatic", "multichannel")
}


def build(spec: TextCNN) -> keras.Model:
    """Ids (N, length) -> logits (N, classes)."""
    tokens = token_input(spec)
    x = features(spec, tokens)["sentence"]
    if spec.dropout:
        x = layers.Dropout(spec.dropout, name="dropout")(x)
    short = None if spec.max_norm is None else keras.constraints.MaxNorm(spec.max_norm, axis=0)
    return keras.Model(tokens, layers.Dense(spec.classes, kernel_constraint=short, name="logits")(x))


def features(spec: TextCNN, tokens) -> dict:
    """`words` (N, length, width), a `window{h}` (N, length - h + 1, maps) for each, `sentence` (N, windows x maps)."""
    taps = {"words": word_vectors(tokens, spec)}
    largest = []
    for window in spec.windows:
        x = layers.Conv1D(spec.maps, window, name=f"window{window}_conv")(taps["words"])
        x = taps[f"window{window}"] = layers.ReLU(name=f"window{window}_relu")(x)
        largest.append(layers.GlobalMaxPooling1D(name=f"window{window}_max")(x))
    taps["sentence"] = layers.Concatenate(name="sentence")(largest) if len(largest) > 1 else largest[0]
    return taps


def word_vectors(tokens, spec: TextCNN):
    """One table, or the sum of two."""
    found = [WordTable(spec.words, spec.width, fixed=kind == "fixed", name=f"words_{kind}")(tokens)
             for kind in EMBEDDINGS[spec.embedding]]  # fmt: skip
    return layers.Add(name="words_sum")(found) if len(found) > 1 else found[0]
