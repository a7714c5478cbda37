"""A tag for each word of a sentence: logits (N, words, tags); tags of IOB2 tell entities."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cnn_app import data as sources
from cnn_app.data import Records
from cnn_app.data.dataset import Dataset, Split, in_memory, mapped
from cnn_app.data.division import divided
from cnn_app.errors import DataError, RecipeError
from cnn_app.heads import THERE
from cnn_app.inputs import Input
from cnn_app.names import TOP
from cnn_app.tasks import bio, conll
from cnn_app.tasks.bio import ABSENT
from cnn_app.tasks.conll import TARGET, WORDS
from cnn_app.tasks.probabilities import OUTPUT, Probabilities, class_weights
from cnn_app.tasks.tag_report import Report
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    from cnn_app.recipe import Data, Schedule
    from cnn_app.tensors import Arrays

TEXT, STARTS, ENDS = "text", "starts", "ends"  # what is told of a text, beside its words


@dataclass(frozen=True, kw_only=True)
class Tagging(Probabilities):
    balance: float = 0.5  # exponent of the weights of tags that are balanced: O is so frequent that 1 is too much

    name: ClassVar = "tagging"
    monitor: ClassVar = ("f1", "-loss")
    batch_metrics: ClassVar = ("word_accuracy",)
    titles: ClassVar = {"f1": "F1", "precision": "precision", "recall": "recall", "word_accuracy": "word accuracy",
                        "loss": "loss (nats)"}  # fmt: skip
    memorised: ClassVar = 0.99
    augmentations: ClassVar = ()

    def __post_init__(self):
        if type(self.balance) not in (int, float) or not 0 <= self.balance <= 1:
            raise RecipeError(f"balance is an exponent from 0 to 1, received {self.balance!r}")

    @classmethod
    def of_specs(cls, taken: Input, outputs: dict[str, Spec]) -> None:
        """Nothing tells which words the ids of a file stand for that says nothing of itself."""

    # --- data

    def load(self, data: Data | Records) -> Dataset:
        """A folder with a CoNLL file for each split, one such file, or arrays."""
        if set(self.input.converters()) != {WORDS}:
            raise DataError(f"tags are of words; the network takes {self.input.plural}")
        records, told = sources.named(data), sources.told(data)
        if records is None:
            labels, splits = conll.load(Path(told.source), told.encoding, self.input)
        else:
            labels = records.labels
            splits = {name: conll.checked(data.source, split, labels, self.input)
                      for name, split in records.splits.items()}  # fmt: skip
        if len(labels) < 2:
            raise DataError(f"{data.source} has one tag only ({', '.join(labels) or 'none'}); two or more are needed")
        whole, how = divided(data.source, splits, told, self.strata)
        there = set(whole["train"].targets[TARGET].array.flat)
        if missing := [label for place, label in enumerate(labels) if place not in there]:
            raise DataError(f"{data.source}: train has nothing of {', '.join(missing[:5])}; add some or remove the tag")
        return Dataset(data.source, whole, labels, division=how)

    def in_order(self, dataset: Dataset, labels: tuple[str, ...]) -> Dataset:
        """Of data that have no tag but those of a model; they need not have all."""
        if extra := sorted(set(dataset.labels) - set(labels)):
            raise DataError(f"{dataset.source} has other tags than the model, which does not know "
                            f"{', '.join(extra[:5])}; finetune makes a new head")  # fmt: skip
        places = np.array([*(labels.index(label) for label in dataset.labels), ABSENT], np.int32)  # the last for ABSENT

        def moved(split: Split) -> Split:
            return Split(split.names, split.inputs, {TARGET: in_memory(places[split.targets[TARGET].array])})

        return mapped(dataset, moved, labels=labels)

    def converters(self) -> dict[str, tuple[Spec, Callable]]:
        return self.input.converters()

    def strata(self, split: Split) -> np.ndarray:
        """The rarest tag of each sentence."""
        tags = split.targets[TARGET].array
        counts = np.bincount(tags[tags >= 0])
        return np.where(tags >= 0, counts[tags] * len(counts) + tags, np.iinfo(np.int64).max).min(1) % len(counts)

    def augmented(self, inputs: dict, targets: dict, seed: tuple, names: tuple[str, ...]) -> tuple[dict, dict]:
        return self.input.augmented(inputs, seed, names), targets

    def shown(self, inputs: Arrays, targets: Arrays) -> tuple[np.ndarray, str]:
        raise NotImplementedError  # sentences are not drawn

    # --- training

    def objective(self, schedule: Schedule, split: Split) -> Callable:
        """Cross-entropy of smoothed shares, times the weight of the tag; the mean over the words of a batch.

        Balanced weights are inverse to what there is of a tag to the power of `balance`.
        """
        from keras import ops

        classes, smooth, tags = len(self.labels), schedule.label_smoothing, split.targets[TARGET].array
        counts = np.bincount(tags[tags >= 0], minlength=classes)
        if counts.min() == 0:
            raise DataError(f"not one word with the tag {self.labels[counts.argmin()]!r} in train can be read")
        weights = class_weights(counts, schedule.class_weights)
        if weights is not None:
            weights = weights**self.balance
            weights *= counts.sum() / (weights * counts).sum()  # one for a word, in the mean

        def loss(outputs, targets):
            there = ops.cast(targets[TARGET] >= 0, "float32")
            shares = ops.one_hot(ops.maximum(targets[TARGET], 0), classes)
            spread = shares * (1 - smooth) + smooth / classes
            nats = -ops.sum(spread * ops.log_softmax(ops.cast(outputs, "float32"), -1), -1) * there
            nats = nats if weights is None else nats * ops.matmul(shares, weights)
            mean = ops.mean(ops.sum(there, -1))  # words of a sentence of this batch
            return ops.sum(nats, -1) / ops.maximum(mean, 1.0)

        return loss

    def counted(self, targets):
        from keras import ops

        return ops.cast(targets[TARGET] >= 0, "float32")

    def step_metrics(self, outputs, targets) -> dict:
        from keras import ops

        there = ops.cast(targets[TARGET] >= 0, "float32")
        right = ops.cast(ops.cast(ops.argmax(outputs, -1), "int32") == targets[TARGET], "float32") * there
        return {"word_accuracy": ops.sum(right, -1) / ops.maximum(ops.sum(there, -1), 1.0)}

    def measure(self, batches: Iterable[tuple[Arrays, Arrays]]) -> Report:
        parts = []
        for outputs, targets in batches:
            scores, wanted = outputs[OUTPUT], np.asarray(targets[TARGET])
            chances = np.take_along_axis(scores, np.maximum(wanted, 0)[..., None], -1)[..., 0]
            found = np.where(wanted >= 0, self._tags(outputs), ABSENT)
            parts.append((found, wanted, scores.max(-1), chances))
        return Report(*(np.concatenate(part) for part in zip(*parts, strict=True)), self.labels)

    def _tags(self, outputs: Arrays) -> np.ndarray:
        """The most probable ones, repaired; ABSENT where there is no word."""
        tags = np.where(outputs[THERE] > 0.5, outputs[OUTPUT].argmax(-1), ABSENT)
        return bio.scheme(self.labels).repaired(tags)

    # --- answers

    def agreement(self, found: Arrays, wanted: Arrays) -> float:
        """The share of words with the same tag."""
        tags, others = self._tags(found), self._tags(wanted)
        there = (tags >= 0) | (others >= 0)
        return float((tags == others)[there].mean()) if there.any() else 1.0

    def averaged(self, several: list[Arrays]) -> Arrays:
        return several[0] | super().averaged(several)

    def reordered(self, outputs: Arrays, places: list[int]) -> Arrays:
        return outputs | super().reordered(outputs, places)

    def served(self, outputs: dict, table, encoded) -> dict:
        """Beside the outputs `tags`, string (n, words), empty behind a sentence.

        To texts with their probabilities, `scores`, with `words`, `starts` and `ends`, likewise, and the `text` again,
        in the place of the outputs.
        """
        import tensorflow as tf

        known, there = bio.scheme(self.labels), outputs[THERE] > 0.5
        tags = tf.argmax(outputs[OUTPUT], -1, tf.int32)
        kinds = tf.where(there, tf.gather(tf.constant(known.kind, tf.int32), tags), -1)
        before = tf.pad(kinds[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
        begins = tf.gather(tf.constant(known.inside), tags) & (kinds != before)
        tags = tf.where(begins, tf.gather(tf.constant(known.begin, tf.int32), tags), tags)
        named = tf.where(there, table.lookup(tf.cast(tags, tf.int64)), "")
        if encoded is None:
            return outputs | {TARGET: named}
        scores = tf.where(there, tf.reduce_max(outputs[OUTPUT], -1), 0.0)
        return {TARGET: named, "scores": scores, TEXT: tf.identity(encoded)} | self.input.placed(encoded)

    def placed(self, outputs: Arrays, encoded: Iterable[bytes]) -> Arrays:
        texts = np.array(list(encoded), object)
        found = {name: tensor.numpy() for name, tensor in self.input.placed(texts).items()}
        return outputs | found | {TEXT: texts}

    def named(self, outputs: Arrays) -> Arrays:
        tags = self._tags(outputs)
        labels = np.array([*self.labels, ""], object)  # the last for ABSENT
        scores = np.where(tags >= 0, outputs[OUTPUT].max(-1), 0).astype(np.float32)
        told = {name: outputs[name] for name in (TEXT, WORDS, STARTS, ENDS)}
        return {TARGET: labels[tags], "scores": scores} | told

    def named_specs(self, outputs: dict[str, Spec]) -> dict[str, Spec]:
        sides = (None, self.input.length)
        places, strings = Spec("int32", sides), Spec("string", sides)
        return {TARGET: strings, "scores": Spec("float32", sides), TEXT: Spec("string", (None,)), WORDS: strings,
                STARTS: places, ENDS: places}  # fmt: skip

    def answer(self, outputs: Arrays, top: int = TOP) -> dict:
        """{"entities": [{"label", "text", "start", "end", "probability"}], "words", "tags"}.

        Of ids alone the text is that of their places: "0 1 2".
        """
        tags = self._tags({name: outputs[name][None] for name in (OUTPUT, THERE)})[0]
        count = int((tags >= 0).sum())
        if TEXT in outputs:
            text, starts, ends = outputs[TEXT].decode(), outputs[STARTS][:count], outputs[ENDS][:count]
        else:
            words = list(map(str, range(count)))
            text, ends = " ".join(words), np.cumsum([len(word) + 1 for word in words]) - 1
            starts = ends - list(map(len, words))
        labels = [self.labels[tag] for tag in tags[:count]]
        return bio.told(labels, outputs[OUTPUT][:count].max(-1), text, starts, ends)

    def text(self, answer: dict) -> str:
        return bio.line(answer)

    def draw(self, outputs: Arrays, record: Arrays, name: str, path: Path) -> None:
        from cnn_app.tasks.tag_pictures import draw

        draw(self.answer(outputs), self.labels, path)

    def tensor_metadata(self, schema, labels_file) -> list:
        """TFLite's TensorMetadata of the outputs, in the file's order, which is that of their names."""
        scores, there = schema.TensorMetadataT(), schema.TensorMetadataT()
        scores.name, scores.description = OUTPUT, "One for each label of each word; they sum to one."
        scores.associatedFiles = [labels_file]
        there.name, there.description = THERE, "1 for each word, 0 behind the last."
        return [scores, there]
