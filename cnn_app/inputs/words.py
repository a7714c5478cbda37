"""Words in their sentence: ids (N, length, features), int32, or UTF-8 that is cut into words.

A word is told by three ids: its own, of what it is in lower case with every run of digits as one, so that PS1 and PS2
are one word; how it has capitals; and where the network wants them its last letters. 0 is the padding behind a
sentence, 1 what is not known. Words of data are as they are given; a text is cut as `tokens` says, which leaves
addresses, @names, #tags and numbers whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cnn_app import names
from cnn_app.errors import DataError
from cnn_app.inputs import sentences, tables
from cnn_app.inputs.text import PADDING, UNKNOWN, Text
from cnn_app.inputs.tokens import NUMBER, capitals_of, cut, endings_of, keys_of
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    from cnn_app.data.dataset import Column, Split
    from cnn_app.tensors import Arrays

LEAST = 2  # times that a word is seen in training; rarer ones are what teaches the unknown word


@dataclass(frozen=True)
class Words(Text):
    """Up to `length` words; `suffixes` rows of a table of their last `letters`, among them padding and the unknown."""

    suffixes: int = 0  # 0: there is no such table
    letters: int = 2
    endings: tuple[str, ...] = ()

    kind: ClassVar = "words"

    @classmethod
    def of_row(cls, row, known: Mapping) -> Words:
        return cls(row.length, row.words, tuple(known.get("vocabulary", ())), row.suffixes,
                   row.letters, tuple(known.get("endings", ())))  # fmt: skip

    @classmethod
    def of_facts(cls, facts: Mapping) -> Words:
        sizes = [facts[name] for name in ("length", "words", "letters", "suffixes")]
        vocabulary, endings = tuple(facts["vocabulary"]), tuple(facts["endings"])
        if any(type(size) is not int for size in sizes) or min(sizes[:3]) < 1 or sizes[3] < 0 or sizes[2] > 8:
            raise ValueError(f"sentences of {sizes[0]} words, {sizes[1]} known, with {sizes[3]} suffixes of {sizes[2]} "
                             "letters have no size")  # fmt: skip
        if not all(isinstance(word, str) for word in (*vocabulary, *endings)):
            raise ValueError("a vocabulary is of texts")
        return cls(sizes[0], sizes[1], vocabulary, sizes[3], sizes[2], endings)

    def facts(self) -> dict:
        return super().facts() | {
            "suffixes": self.suffixes, "letters": self.letters, "endings": list(self.endings)
        }  # fmt: skip

    def brief(self) -> dict:
        note = f"Up to {self.length} words, of {self.words - 2:,} that it knows."
        return {"kind": self.kind, "length": self.length, "words": self.words, "note": note}

    def columns(self) -> dict:
        return super().columns() | {"suffixes": self.suffixes, "letters": self.letters}

    @property
    def features(self) -> int:
        return 3 if self.suffixes else 2

    def specs(self) -> dict[str, Spec]:
        return {"words": Spec("int32", (None, self.length, self.features))}

    def fitted(self, split: Split) -> Words:
        """With the most frequent words and endings of the training sentences, as many as there are rows for."""
        import tensorflow as tf

        if self.vocabulary:
            return self
        keys = keys_of(tf.strings.split(split.inputs["words"].array).flat_values)
        words, endings = _ranked(keys, self.words - 2), self._ends(keys)
        suffixes = len(endings) + 2 if self.suffixes else 0
        return replace(self, vocabulary=words, words=len(words) + 2, endings=endings, suffixes=suffixes)

    def _ends(self, keys) -> tuple[str, ...]:
        return _ranked(endings_of(keys, self.letters), self.suffixes - 2) if self.suffixes else ()

    def raw(self, records: list) -> dict[str, Column]:
        """Of sentences whose words stand between spaces."""
        from cnn_app.data.dataset import in_memory

        column = in_memory(np.array(records, object))
        return {"words": replace(column, problem=lambda i: self._problem(records[i], records[i].split()))}

    def _problem(self, data: bytes, words) -> str | None:
        """Why these `words` of a sentence are none for the network."""
        if reason := sentences.problem(data):
            return reason
        if not len(words):
            return "it has no words"
        if len(words) > self.length:
            return f"it has {len(words):,} words, and the network takes {self.length}; cut it, or train with -c length"
        return None

    def converters(self) -> dict[str, tuple[Spec, Callable]]:
        import tensorflow as tf

        shape = (self.length, self.features)
        return {"words": (Spec("int32", shape), lambda raw: self._ids(tf.strings.split(raw[None]))[0])}

    def decoder(self) -> Callable[[bytes], Arrays]:
        import tensorflow as tf

        ids = tf.function(self.ids, input_signature=[tf.TensorSpec((None,), tf.string)])
        return lambda data: {"words": ids(tf.constant([data]))[0].numpy()}

    def encode(self, record: Arrays) -> bytes:
        """What is not known becomes a word that is not either."""
        ways = (str, str, str, str.capitalize, str.upper)
        found = (ways[row[1]](self.vocabulary[row[0] - 2].replace(NUMBER, "0")) if row[0] > UNKNOWN else "?"
                 for row in record["words"] if row[0] != PADDING)  # fmt: skip
        return " ".join(found).encode()

    def load(self, data: bytes, name: str) -> Arrays:
        if reason := sentences.problem(data) or self._problem(data, self._words(data)):
            raise DataError(f"cannot read {name}: {reason}")
        return self._decode(data)

    @cached_property
    def _words(self) -> Callable[[bytes], np.ndarray]:
        import tensorflow as tf

        found = tf.function(lambda text: cut(text)[0].flat_values, input_signature=[tf.TensorSpec((None,), tf.string)])
        return lambda data: found(tf.constant([data])).numpy()

    def signatures(self) -> Iterator[tuple[str, dict[str, Spec], Callable]]:
        yield names.DEFAULT, self.specs(), lambda words: {"words": words}
        yield self.encoded, {self.encoded: Spec("string", (None,))}, lambda text: {"words": self.ids(text)}

    @property
    def resources(self) -> list:
        return [self._table, self._endings]

    def tensor_metadata(self, schema):
        """TFLite's TensorMetadata; vocabulary and endings lie in model.json behind the file."""
        words = schema.TensorMetadataT()
        words.name, words.dimensionNames = "words", None
        words.description = (f"For each word its id, that of its capitals{' and of its ending' * bool(self.suffixes)}: "
                             f"{PADDING} is padding, {UNKNOWN} an unknown word.")  # fmt: skip
        return words

    def ids(self, text):
        """Texts (n,) of UTF-8 -> int32 (n, length, features); words that are too many are left out."""
        return self._ids(cut(text)[0])

    def placed(self, text) -> dict:
        """Texts (n,) -> their `words` and where they begin and end, `starts` and `ends` in characters, (n, length)."""
        found = dict(zip(("words", "starts", "ends"), cut(text), strict=True))
        return {name: parts[:, : self.length].to_tensor(shape=(None, self.length)) for name, parts in found.items()}

    def _ids(self, words):
        """Words, ragged (n, words) -> int32 (n, length, features)."""
        import tensorflow as tf

        words = words[:, : self.length]
        keys = keys_of(words.flat_values)
        ids = [self._table.lookup(keys), capitals_of(words.flat_values)]
        ids += [self._endings.lookup(endings_of(keys, self.letters))] * bool(self.suffixes)
        found = words.with_flat_values(tf.stack(ids, -1))
        return found.to_tensor(PADDING, shape=(None, self.length, self.features))

    @cached_property
    def _endings(self):
        return tables.of_words(self.endings, UNKNOWN + 1, UNKNOWN)


def _ranked(keys, most: int) -> tuple[str, ...]:
    """The most frequent, those of the same number in the order of the alphabet."""
    found = Counter(keys.numpy().tolist())
    ranked = sorted((key for key, times in found.items() if times >= LEAST), key=lambda key: (-found[key], key))
    return tuple(key.decode() for key in ranked[:most])
