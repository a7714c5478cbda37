"""A sentence for each image: logits of words (N, length, words), each behind the true ones; deployed behind its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cnn_app import data as sources
from cnn_app import heads
from cnn_app.data import Records
from cnn_app.data.dataset import Dataset, Split, in_memory
from cnn_app.data.division import Table as Division
from cnn_app.data.division import divided
from cnn_app.errors import DataError, RecipeError, TrainingError
from cnn_app.inputs import Input
from cnn_app.names import TOP
from cnn_app.tasks import caption_files, caption_words
from cnn_app.tasks.base import Base
from cnn_app.tasks.caption_files import CAPTIONS
from cnn_app.tasks.caption_report import COUNT, HITS, NATS, Report
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    import keras

    from cnn_app.recipe import Data, Schedule
    from cnn_app.runtimes import Runtime
    from cnn_app.tensors import Arrays

TOKENS, SCORES, CAPTION = "tokens", "scores", "caption"
WORDS, BEFORE = "target", "words"  # of a batch: the words of the caption that was drawn, and what the network is told
SIZES = {"embedding": 4096, "units": 4096, "length": 100, "rare": 10**6}  # option -> the most it may be


@dataclass(frozen=True, kw_only=True)
class Captioning(Base):
    """`labels` are the vocabulary: caption_words.MARKS, then words, the most frequent first."""

    embedding: int = 512  # numbers of a word's vector
    units: int = 512  # of the LSTM
    length: int = 20  # most words of a caption
    rare: int = 5  # words that train has less often are unknown ones (Karpathy and Fei-Fei, arXiv:1412.2306, section 4)

    name: ClassVar = "captioning"
    monitor: ClassVar = ("bleu4", "-loss")
    batch_metrics: ClassVar = ("word_accuracy",)
    titles: ClassVar = {"bleu1": "BLEU-1", "bleu2": "BLEU-2", "bleu3": "BLEU-3", "bleu4": "BLEU-4",
                        "bleu4_beam3": "BLEU-4, beam 3", "perplexity": "perplexity", "word_accuracy": "next word",
                        "loss": "loss"}  # fmt: skip
    labelled: ClassVar = False
    familiar: ClassVar = False  # it was not tried on captions
    memorised: ClassVar = 0.9

    def __post_init__(self):
        for name, most in SIZES.items():
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                raise RecipeError(f"{name} of captions is a whole number from 1 to {most:,}, received {value!r}")

    @classmethod
    def of_specs(cls, taken: Input, outputs: dict[str, Spec]) -> None:
        """Nothing tells which words numbers stand for in a file that says nothing of itself."""

    @property
    def augmentations(self) -> tuple[str, ...]:
        return self.input.augmentations

    @property
    def head(self) -> str:
        return f"{self.name}/{self.embedding}-{self.units}-{self.length}"

    # --- data

    def load(self, data: Data | Records) -> Dataset:
        """A folder with captions.txt, or arrays; its labels are the words of train."""
        if self.input.kind != "image":
            raise DataError(f"captions are of images; the network takes {self.input.plural}")
        records, table = sources.named(data), None
        if records is None:
            splits, table = caption_files.load(Path(data.source), sources.told(data).encoding, self.input)
        else:
            splits = {name: _checked(data.source, name, split) for name, split in records.splits.items()}
        return self._complete(sources.told(data), splits, table)

    def _complete(self, data: Data, splits: dict[str, Split], table: Division | None) -> Dataset:
        splits, how = divided(data.source, splits, data, table=table)
        words = caption_words.vocabulary(splits["train"].targets[CAPTIONS].array, self.rare)
        return Dataset(data.source, splits, words, division=how)

    def in_order(self, dataset: Dataset, labels: tuple[str, ...]) -> Dataset:
        """Whatever words the captions have: those that a network does not know are unknown ones."""
        return replace(dataset, labels=labels)

    def converters(self) -> dict[str, tuple[Spec, Callable]]:
        return self.input.converters()

    def augmented(self, inputs: dict, targets: dict, seed: tuple, names: tuple[str, ...]) -> tuple[dict, dict]:
        """One of an image's captions is drawn."""
        return self.input.augmented(inputs, seed, names), {WORDS: self._table.drawn(targets[CAPTIONS], seed)}

    def shown(self, inputs: Arrays, targets: Arrays) -> tuple[np.ndarray, str]:
        from cnn_app.tasks.caption_pictures import under

        return inputs["image"], under(self.sentence(targets[WORDS]))

    @cached_property
    def _table(self) -> caption_words.Table:
        return caption_words.Table(self.labels, self.length)

    # --- training

    def columns(self) -> dict:
        return self.input.columns() | {"classes": len(self.labels)}

    def fed(self, inputs: dict, targets: dict) -> dict:
        """While training the words in front of each; what is measured is told all captions."""
        return inputs | ({BEFORE: caption_words.before(targets[WORDS])} if WORDS in targets else targets)

    def objective(self, schedule: Schedule, split: Split) -> Callable:
        """Cross-entropy of a word, in nats, mean over the words of a caption and its end."""
        from keras import ops

        if schedule.class_weights != "none":
            raise TrainingError("words of captions have no class weights; leave out class_weights")
        smooth = schedule.label_smoothing

        def loss(outputs, targets):
            chances, weights = ops.log_softmax(outputs[heads.MAIN], -1), caption_words.counted(targets[WORDS])
            wanted = ops.take_along_axis(chances, targets[WORDS][..., None], 2)[..., 0]
            losses = -(1 - smooth) * wanted - smooth * ops.mean(chances, -1)
            return ops.sum(losses * weights, 1) / ops.sum(weights, 1)

        return loss

    def step_metrics(self, outputs, targets) -> dict:
        from cnn_app.tasks.caption_search import word_sums

        _, hits, count = word_sums(outputs[heads.MAIN], targets[WORDS])
        return {"word_accuracy": hits / count}

    def measured(self, runtime: Runtime) -> Runtime:
        from cnn_app.tasks.caption_search import measuring

        return measuring(runtime, lambda: self._table)

    def measure(self, batches: Iterable[tuple[Arrays, Arrays]]) -> Report:
        """Of files captions are measured; of networks in Keras also the likelihood of those of people."""
        from cnn_app.tasks.caption_search import BEAM

        captions, references, chances, sums, searched = [], [], [], dict.fromkeys((NATS, HITS, COUNT), 0.0), []
        for outputs, targets in batches:
            captions += map(self.sentence, outputs[TOKENS])
            references += caption_words.each(targets[CAPTIONS])
            words = np.minimum((outputs[TOKENS] > 0).sum(1) + 1, self.length)
            chances.append(np.exp(outputs[SCORES].sum(1) / words))
            searched += map(self.sentence, outputs.get(f"{TOKENS}_{BEAM}", ()))
            sums = {name: total + float(np.sum(outputs.get(name, 0.0))) for name, total in sums.items()}
        return Report(captions, references, np.concatenate(chances), sums if sums[COUNT] else {},
                      {BEAM: searched} if searched else {})  # fmt: skip

    # --- answers

    def parts(self, model: keras.Model) -> dict[str, keras.Model]:
        return heads.named(self.name).parts(self.deployed(model))

    def sentence(self, tokens: np.ndarray) -> str:
        return " ".join(self._words(tokens))

    def _words(self, tokens: np.ndarray) -> list[str]:
        known = len(self.labels)
        return [self.labels[i] if i < known else f"<{i}>" for i in tokens.tolist() if i > 0]

    def served(self, outputs: dict, table, encoded) -> dict:
        """Beside the outputs `caption` (n,), its words with spaces between."""
        import tensorflow as tf

        words = tf.gather(tf.constant(["", *self.labels[1:]]), outputs[TOKENS])
        return outputs | {CAPTION: tf.strings.strip(tf.strings.reduce_join(words, 1, separator=" "))}

    def named(self, outputs: Arrays) -> Arrays:
        said = np.array([self.sentence(tokens).encode() for tokens in outputs[TOKENS]], object)
        return {name: outputs[name] for name in (TOKENS, SCORES)} | {CAPTION: said}

    def named_specs(self, outputs: dict[str, Spec]) -> dict[str, Spec]:
        return {name: outputs[name] for name in (TOKENS, SCORES)} | {CAPTION: Spec("string", (None,))}

    def agreement(self, found: Arrays, wanted: Arrays) -> float:
        """The share of images whose captions are the same, word for word."""
        return float((found[TOKENS] == wanted[TOKENS]).all(1).mean())

    def averaged(self, several: list[Arrays]) -> Arrays:
        """Captions have no mean: of each image the most probable one."""
        best = np.argmax([outputs[SCORES].sum(1) for outputs in several], 0)
        return {name: np.stack([outputs[name] for outputs in several])[best, np.arange(len(best))]
                for name in (TOKENS, SCORES)}  # fmt: skip

    def reordered(self, outputs: Arrays, places: list[int]) -> Arrays:
        """Words from these places of another vocabulary of the same words."""
        return outputs | {name: np.argsort(places)[array].astype(array.dtype)
                          for name, array in outputs.items() if name.startswith(TOKENS)}  # fmt: skip

    def answer(self, outputs: Arrays, top: int = TOP) -> dict:
        """{"caption", "words": [{"word", "probability"}]}."""
        words = self._words(outputs[TOKENS])
        chances = np.exp(outputs[SCORES][: len(words)].astype(np.float64))
        return {CAPTION: " ".join(words), "words": [{"word": word, "probability": float(chance)}
                                                    for word, chance in zip(words, chances, strict=True)]}  # fmt: skip

    def text(self, answer: dict) -> str:
        return answer[CAPTION]

    def draw(self, outputs: Arrays, record: Arrays, name: str, path: Path) -> None:
        from cnn_app.tasks.caption_pictures import draw

        draw(record["image"], self.sentence(outputs[TOKENS]), name, path)

    def tensor_metadata(self, schema, labels_file) -> list:
        """TFLite's TensorMetadata of the outputs, in the file's order, which is that of their names."""
        scores, tokens = schema.TensorMetadataT(), schema.TensorMetadataT()
        scores.name, scores.description = SCORES, "Logarithmic probabilities of the words."
        tokens.name, tokens.description = TOKENS, "Places of words among the labels; the first is the end."
        tokens.associatedFiles = [labels_file]
        return [scores, tokens]


def _checked(source: str, name: str, split: Split) -> Split:
    """Records of others' making: images with a text each, a caption a line."""
    column = split.targets.get(CAPTIONS)
    if set(split.inputs) != {"image"} or set(split.targets) != {CAPTIONS} or column.array is None:
        raise DataError(f"{source} has {', '.join([*split.inputs, *split.targets])}; image and {CAPTIONS} are needed")
    texts = caption_words.texts_of(column.array)
    for i, text in enumerate(texts):
        for caption in text.decode(errors="replace").split("\n"):
            if problem := caption_files.problem_of(caption):
                raise DataError(f"{source}: record {i} of {name} {problem}")
    return Split(split.names, split.inputs, {CAPTIONS: in_memory(texts)})
