"""Sentences: ids of their words, int32 (N, length), or UTF-8.

A sentence is lower-cased and cut into words and marks, contractions apart as in the Penn treebank; each word is a row
of the vocabulary, which is learned from the training sentences and belongs to the model. The words stand behind MARGIN
places of padding, as in Kim's code (arXiv:1408.5882), so that a window sees the first and the last word at each of its
own places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

import numpy as np

from cnn_app import names
from cnn_app.data.dataset import SPLITS
from cnn_app.data.folder import split_folders
from cnn_app.errors import DataError
from cnn_app.inputs import files, sentences, tables
from cnn_app.inputs.base import Base
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    import keras

    from cnn_app.data.dataset import Column, Split
    from cnn_app.tensors import Arrays

PADDING, UNKNOWN = 0, 1  # ids; words have those behind them
MARGIN = 4  # places in front and behind that stay padding
CUTS = (  # regular expressions of RE2 and what takes their place
    (r"n't\b", r" n't"),
    (r"'(s|m|d|ll|re|ve)\b", r" '\1"),
    (r"([^\p{L}\p{M}\p{N}\s'])", r" \1 "),
)
VECTORS = (".txt", ".vec")  # endings of word vectors


@dataclass(frozen=True)
class Text(Base):
    """Sentences of up to length - 2 MARGIN words, `words` rows of a table among them padding and the unknown word."""

    length: int
    words: int
    vocabulary: tuple[str, ...] = ()

    kind: ClassVar = "text"
    plural: ClassVar = "sentences"
    unit: ClassVar = "ids"
    encoded: ClassVar = names.TEXT
    formats: ClassVar = "UTF-8"
    suffixes: ClassVar = ()  # sentences lie in files of many
    familiar: ClassVar = False  # what is strange about a sentence are words that are not in the vocabulary

    @classmethod
    def of_row(cls, row, known: Mapping) -> Text:
        return cls(row.length, row.words, tuple(known.get("vocabulary", ())))

    @classmethod
    def of_facts(cls, facts: Mapping) -> Text:
        length, words, vocabulary = facts["length"], facts["words"], tuple(facts["vocabulary"])
        if type(length) is not int or type(words) is not int or length <= 2 * MARGIN or words < 1:
            raise ValueError(f"sentences of {length} places and {words} words have no size")
        if not all(isinstance(word, str) for word in vocabulary):
            raise ValueError("a vocabulary is of texts")
        return cls(length, words, vocabulary)

    @classmethod
    def of_specs(cls, specs: dict[str, Spec]) -> None:
        """Numbers do not say which words they stand for."""

    def facts(self) -> dict:
        return {"kind": self.kind, "length": self.length, "words": self.words, "vocabulary": list(self.vocabulary)}

    def brief(self) -> dict:
        note = f"Up to {self.length - 2 * MARGIN} words, of {self.words - 2:,} that it knows."
        return {"kind": self.kind, "length": self.length, "words": self.words, "note": note}

    def columns(self) -> dict:
        return {"length": self.length, "words": self.words}

    def specs(self) -> dict[str, Spec]:
        return {"tokens": Spec("int32", (None, self.length))}

    def fitted(self, split: Split) -> Text:
        """With the most frequent words of the training sentences, as many as the table has rows for."""
        if self.vocabulary:
            return self
        found = Counter(words_of(split.inputs["tokens"].array).flat_values.numpy().tolist())
        ranked = sorted(found, key=lambda word: (-found[word], word))[: self.words - 2]
        vocabulary = tuple(word.decode() for word in ranked)
        return replace(self, vocabulary=vocabulary, words=len(vocabulary) + 2)

    def places(self, root: Path) -> dict[str, Path]:
        """Folders, or a CSV for each split, or one CSV."""
        if root.is_file():
            return {"train": root}
        tables = {name: root / f"{name}.csv" for name in SPLITS if (root / f"{name}.csv").is_file()}
        if tables and "train" not in tables:
            raise DataError(f"{root} has {', '.join(file.name for file in tables.values())} but no train.csv; add it")
        return tables or split_folders(root)

    def by_class(self, place: Path, root: Path, encoding: str) -> dict[str, tuple[list[str], list]]:
        """A file for each class, named by it, with a sentence a line; or a CSV with the columns text and label."""
        if place.is_file():
            return sentences.of_csv(place, encoding)
        return sentences.of_folder(place, root, encoding)

    def raw(self, records: list) -> dict[str, Column]:
        from cnn_app.data.dataset import in_memory

        column = in_memory(np.array(records, object))
        return {"tokens": replace(column, problem=lambda i: sentences.problem(records[i]))}

    @staticmethod
    def records(places: Iterable[str], stdin: BinaryIO) -> Iterator[tuple[str, bytes | DataError]]:
        """The lines of files, of those under folders, of standard input (`-`); anything else is a sentence itself."""
        for place in places:
            path = Path(place)
            if place == "-":
                yield from sentences.lines("standard input", stdin.read(sentences.MAX_FILE_BYTES))
            elif not place.strip():
                yield "a sentence", DataError("cannot read a sentence: it is empty")
            elif len(place) < 256 and (path.exists() or path.suffix == ".txt"):
                for name in files.names([place], (".txt",), "text files"):
                    try:
                        yield from sentences.lines(name, files.content(Path(name)))
                    except DataError as error:
                        yield name, error
            else:
                yield place, place.encode(errors="surrogateescape")

    def converters(self) -> dict[str, tuple[Spec, Callable]]:
        return {"tokens": (Spec("int32", (self.length,)), lambda raw: self.ids(raw[None])[0])}

    def decoder(self) -> Callable[[bytes], Arrays]:
        import tensorflow as tf

        ids = tf.function(self.ids, input_signature=[tf.TensorSpec((None,), tf.string)])
        return lambda data: {"tokens": ids(tf.constant([data]))[0].numpy()}

    def encode(self, record: Arrays) -> bytes:
        words = (self.vocabulary[i - 2] for i in record["tokens"] if i >= 2)
        return " ".join(words).encode()

    def load(self, data: bytes, name: str) -> Arrays:
        if reason := sentences.problem(data):
            raise DataError(f"cannot read {name}: {reason}")
        found = self._decode(data)
        if (found["tokens"] <= UNKNOWN).all():
            raise DataError(f"cannot read {name}: the model knows none of its words")
        return found

    @cached_property
    def _decode(self) -> Callable[[bytes], Arrays]:
        return self.decoder()

    @staticmethod
    def decoded_bytes(data: bytes, most: int) -> int:
        if reason := sentences.problem(data):
            raise DataError(reason)
        return len(data)

    @staticmethod
    def example() -> bytes:
        return b"a"

    def signatures(self) -> Iterator[tuple[str, dict[str, Spec], Callable]]:
        yield names.DEFAULT, self.specs(), lambda tokens: {"tokens": tokens}
        yield self.encoded, {self.encoded: Spec("string", (None,))}, lambda text: {"tokens": self.ids(text)}

    @property
    def resources(self) -> list:
        """What a SavedModel has to keep."""
        return [self._table]

    def set_weights(self, model: keras.Model, path: str) -> bool:
        """Word vectors from a text file of word2vec, GloVe or fastText, for all tables of `model`."""
        if Path(path).suffix not in VECTORS:
            return False
        from cnn_app.inputs import word_vectors

        tables = [layer for layer in model.layers if layer.name.startswith("words_") and layer.weights]
        matrix, found = word_vectors.read(path, ("", "", *self.vocabulary), width=tables[0].weights[0].shape[1])
        if not found:
            raise DataError(f"{path} has vectors for none of the {len(self.vocabulary):,} words of the sentences")
        for table in tables:
            table.set_weights([matrix])
        return True

    def tensor_metadata(self, schema):
        """TFLite's TensorMetadata; the vocabulary lies in model.json behind the file."""
        tokens = schema.TensorMetadataT()
        tokens.name, tokens.dimensionNames = "tokens", None
        tokens.description = f"Ids of words: {PADDING} is padding, {UNKNOWN} an unknown word, {MARGIN} in front."
        return tokens

    def ids(self, text):
        """Sentences (n,) of UTF-8 -> int32 (n, length); words that are too many are left out."""
        import tensorflow as tf

        inside = self.length - 2 * MARGIN
        dense = self._table.lookup(words_of(text))[:, :inside].to_tensor(default_value=PADDING, shape=(None, inside))
        return tf.pad(dense, ((0, 0), (MARGIN, MARGIN)))

    @cached_property
    def _table(self):
        """Word -> id."""
        return tables.of_words(self.vocabulary, UNKNOWN + 1, UNKNOWN)


def words_of(text):
    """Sentences (n,) -> their words, ragged (n, words)."""
    import tensorflow as tf

    text = tf.strings.lower(tf.convert_to_tensor(text, tf.string), encoding="utf-8")
    for pattern, instead in CUTS:
        text = tf.strings.regex_replace(text, pattern, instead)
    return tf.strings.split(text)
