"""Captions as words of a vocabulary, which is learned from those of train: as text is cut into words, without marks.

What a record has of them is one text, a caption a line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from cnn_app.errors import DataError
from cnn_app.inputs import tables
from cnn_app.inputs.draws import uniform
from cnn_app.inputs.text import words_of
from cnn_app.layers.captions import END, UNKNOWN

MARKS = ("<end>", "<unknown>")  # in the places END and UNKNOWN; no word has such brackets
WORD = r".*[\p{L}\p{N}].*"  # a regular expression of RE2; the rest are marks
MOST_WORDS = 50_000  # of a vocabulary
BETWEEN = "\n"


def cut(captions):
    """Captions (n,) -> their words, ragged (n, words)."""
    import tensorflow as tf

    words = words_of(captions)
    return tf.ragged.boolean_mask(words, tf.strings.regex_full_match(words, WORD))


def plain(captions: Sequence[bytes]) -> list[str]:
    """Captions as their words with spaces between, as captions of a network are told."""
    return [" ".join(word.decode() for word in row) for row in cut(list(captions)).to_list()] if len(captions) else []


def each(texts: Iterable[bytes]) -> list[list[str]]:
    """The captions of each record, `plain`."""
    several = [text.split(BETWEEN.encode()) for text in texts]
    found = iter(plain([caption for captions in several for caption in captions]))
    return [[next(found) for _ in captions] for captions in several]


def vocabulary(texts: Iterable[bytes], rare: int) -> tuple[str, ...]:
    """The words that `rare` captions or more have, the most frequent first, behind MARKS."""
    counts = Counter(word for captions in each(texts) for caption in captions for word in caption.split())
    kept = sorted((word for word, count in counts.items() if count >= rare), key=lambda word: (-counts[word], word))
    if not kept:
        raise DataError(f"no word comes {rare} times or more in the captions of train; take a smaller rare")
    return (*MARKS, *kept[:MOST_WORDS])


class Table:
    """A vocabulary as a lookup table of TensorFlow's."""

    def __init__(self, words: Sequence[str], length: int):
        self.length = length
        self.table = tables.of_words(words[len(MARKS) :], len(MARKS), UNKNOWN)

    def ids(self, captions):
        """Captions (n,) -> int32 (n, length), END behind the last word; words that are too many are left out."""
        found = self.table.lookup(cut(captions))[:, : self.length]
        return found.to_tensor(default_value=END, shape=(None, self.length))

    def drawn(self, texts, seed: tuple):
        """One caption of each record, texts (n,), by the seed of its batch."""
        import tensorflow as tf

        several = tf.strings.split(texts, BETWEEN)
        share = uniform(tf.stack([tf.cast(part, tf.int64) for part in seed]), "caption", (tf.shape(texts)[0],))
        counts = tf.cast(several.row_lengths(), tf.float32)
        return self.ids(tf.gather(several, tf.cast(share * counts, tf.int32), batch_dims=1))


def before(words):
    """Words (n, length) -> those in front of each place."""
    from keras import ops

    return ops.pad(words, ((0, 0), (1, 0)), constant_values=END)[:, :-1]


def counted(words):
    """1 at each place up to the end of words (n, length), which counts, and 0 behind it."""
    from keras import ops

    inside = ops.cast(words[:, :-1] != END, "float32")
    return ops.concatenate([ops.ones_like(inside[:, :1]), inside], 1)


def texts_of(array: np.ndarray) -> np.ndarray:
    """Captions that are in memory, bytes or str (n,), as objects of bytes."""
    return np.array([one.encode() if isinstance(one, str) else bytes(one) for one in array.tolist()], object)
