"""The window network that tags each word of a sentence by the words around it.

Collobert et al., "Natural language processing (almost) from scratch", JMLR 12, 2011, Figure 1, sections 3.2.1 and
3.3.1 and Table 5: lookup tables of lower-cased words (50 numbers each) and of their capitals (5), side by side; a
window of 5 words; 300 hard tanh units; a score for each tag. Section 3.5: the dictionary has 100,000 words, all others
are RARE, capitals are one of four kinds. Section 6.1: with a table for the last two letters, 455 of them. A window
that slides over a sentence is a convolution.

The word PADDING around a sentence, whose vector learns in the paper, is zero here and stays it, as Keras pads. Scores
are softmax, as in the paper's word-level log-likelihood (section 3.4.1); transitions between tags (3.4.2) are left out,
and tags are of IOB2, not IOBES. Dropout on vectors and hidden units is none of 2011.
"""

from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.layers import WordTable
from cnn_app.registry import Variant


@dataclass(frozen=True, kw_only=True)
class WindowTagger(Variant):
    paper: str = "1103.0398"
    year: int = 2011
    task: str = "tagging"
    input: str = "words"
    classes: int = 9  # tags: those of CoNLL 2003 in IOB2
    length: int = 128  # words of a sentence
    words: int = 100_002  # rows of the table: the padding, RARE, the dictionary
    width: int = 50  # of a word's vector
    capitals: int = 5  # numbers for what is a capital in it
    suffixes: int = 0  # rows of a table of last letters: the padding, RARE, those; 0: there is none
    suffix_width: int = 5  # numbers for each
    letters: int = 2  # of a suffix
    window: int = 5  # words, of which that in the middle is tagged
    hidden: int = 300

    @property
    def features(self) -> int:
        """Ids that a word is told by."""
        return 3 if self.suffixes else 2

    def problem(self) -> str | None:
        if self.window < 1 or self.window % 2 == 0:
            return f"needs a window of an odd number of words, received {self.window}"
        if min(self.width, self.capitals, self.suffix_width, self.hidden, self.length) < 1:
            return (f"needs a length, widths and hidden units of at least 1, received {self.length}, {self.width}, "
                    f"{self.capitals}, {self.suffix_width} and {self.hidden}")  # fmt: skip
        if not 1 <= self.letters <= 8:
            return f"takes suffixes of 1 to 8 letters, received {self.letters}"
        if self.words < 2 or self.suffixes == 1 or self.suffixes < 0:
            return f"needs tables of 2 rows or more, received words {self.words} and suffixes {self.suffixes}"
        return super().problem()


CAPITALS = 5  # rows: the padding; none, some, the first letter, all
VARIANTS = {
    "window_tagger": WindowTagger(),
    "window_tagger_pos": WindowTagger(classes=45, suffixes=457),
}


def build(spec: WindowTagger) -> keras.Model:
    """Ids (N, length, features) -> logits (N, length, classes)."""
    ids = keras.Input((spec.length, spec.features), dtype="int32", name="words")
    x = features(spec, ids)["hidden"]
    if spec.dropout:
        x = layers.Dropout(spec.dropout, name="dropout")(x)
    return keras.Model(ids, layers.Dense(spec.classes, name="logits")(x))


def features(spec: WindowTagger, ids) -> dict:
    """`vectors` (N, length, widths together) and `hidden` (N, length, hidden)."""
    tables = [("words", spec.words, spec.width), ("capitals", CAPITALS, spec.capitals)]
    tables += [("suffixes", spec.suffixes, spec.suffix_width)] * bool(spec.suffixes)
    found = [WordTable(rows, width, column=place, name=f"{name}_table")(ids)
             for place, (name, rows, width) in enumerate(tables)]  # fmt: skip
    x = vectors = layers.Concatenate(name="vectors")(found)
    if spec.dropout:
        x = layers.Dropout(spec.dropout, name="vectors_dropout")(x)
    x = layers.Conv1D(spec.hidden, spec.window, padding="same", name="window_conv")(x)
    return {"vectors": vectors, "hidden": layers.Activation("hard_tanh", name="window_hard_tanh")(x)}
