"""Beyond the most probable next word: beam search, and how probable the captions of people are to a network."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from cnn_app.heads import CODE, needed
from cnn_app.heads.captioning import AFTER, GREEDY, SCORES, STATE, TOKENS, WORD, likelihood, parts
from cnn_app.layers.captions import END, silenced
from cnn_app.runtimes import Runtime, in_batches
from cnn_app.runtimes.keras_model import KerasRuntime
from cnn_app.tasks.caption_files import CAPTIONS
from cnn_app.tasks.caption_report import COUNT, HITS, NATS
from cnn_app.tasks.caption_words import BETWEEN, Table, before, counted
from cnn_app.tensors import Arrays, Spec

WIDTH = 3  # captions that are followed where captions are measured
BEAM = f"beam{WIDTH}"
AT_ONCE = 64  # captions whose words are looked at together


def beam_search(begun: Arrays, step: Callable[[Arrays], Arrays], length: int, width: int) -> Arrays:
    """{"tokens", "scores"} (n, length) of the best of `width` captions that were followed at a time.

    begun: what `encode` gives of n images. step: as the part `step`, for any number of rows.
    The best is the one with the highest probability; the word behind the end is END, of score 0.
    """
    n = len(next(iter(begun.values())))
    state = {name: np.repeat(array, width, 0) for name, array in begun.items()}
    tokens, scores = np.zeros((n, width, length), np.int32), np.zeros((n, width, length), np.float32)
    total = np.where(np.arange(width) == 0, 0.0, -np.inf) * np.ones((n, 1))  # one begins
    words, ended = np.zeros(n * width, np.int32), np.zeros((n, width), bool)
    for place in range(length):
        found = step({WORD: words, **state})
        chances = found[SCORES].reshape(n, width, -1) + np.asarray(silenced(found[SCORES].shape[-1], place == 0))
        chances[ended] = np.where(np.arange(chances.shape[-1]) == END, 0.0, -np.inf)
        sums = (total[..., None] + chances).reshape(n, -1)
        best = np.argsort(-sums, 1, kind="stable")[:, :width]
        rows, words = best // chances.shape[-1], (best % chances.shape[-1]).astype(np.int32)
        picked = np.arange(n)[:, None], rows
        tokens, scores, total = tokens[picked], scores[picked], np.take_along_axis(sums, best, 1)
        tokens[..., place], scores[..., place] = words, chances[(*picked, words)]
        ended = ended[picked] | (words == END)
        state = {name: found[after].reshape(n, width, -1)[picked].reshape(n * width, -1)
                 for name, after in zip(STATE, AFTER, strict=True)}  # fmt: skip
        words = words.reshape(-1)
        if ended.all():
            break
    return {TOKENS: tokens[:, 0], SCORES: scores[:, 0]}


class Measured:
    """A Keras runtime that takes captions (n,) beside images, and gives what the report is made of as well."""

    def __init__(self, runtime: KerasRuntime, table: Table):
        model = runtime.model
        greedy = model.get_layer(GREEDY)
        code = keras.Model(needed(model, greedy.input), model.output | {CODE: greedy.input}, name=model.name)
        self.runtime, self.table, self.greedy = KerasRuntime(code, runtime.about, runtime.path), table, greedy
        self.step, self.likely = parts(model)["step"], likelihood(model)
        self.inputs, self.outputs = runtime.inputs | {CAPTIONS: Spec("string", (None,))}, runtime.outputs
        self.about, self.path = runtime.about, runtime.path

    def run(self, arrays: Arrays) -> Arrays:
        return in_batches(self._run, arrays)

    def _run(self, arrays: Arrays) -> Arrays:
        images = {name: array for name, array in arrays.items() if name != CAPTIONS}
        found = self.runtime.run(images)
        code = found.pop(CODE)
        begun = dict(zip(STATE, map(np.asarray, self.greedy.begun(code)), strict=True))
        searched = beam_search(begun, self._step, self.greedy.length, WIDTH)
        return found | {f"{name}_{BEAM}": array for name, array in searched.items()} | self._likely(
            code, arrays[CAPTIONS])  # fmt: skip

    def _step(self, arrays: Arrays) -> Arrays:
        given = [arrays[tensor.name] for tensor in self.step.inputs]
        return {name: np.array(array) for name, array in self.step.predict_on_batch(given).items()}

    def _likely(self, code: np.ndarray, texts: np.ndarray) -> Arrays:
        """NATS, HITS and COUNT (n,)."""
        several = [text.split(BETWEEN.encode()) for text in texts]
        owner = np.repeat(np.arange(len(several)), list(map(len, several)))
        ids = self.table.ids([caption for captions in several for caption in captions])
        sums = np.zeros((3, len(several)))
        for start in range(0, len(owner), AT_ONCE):
            rows, words = owner[start : start + AT_ONCE], ids[start : start + AT_ONCE]
            logits = self.likely.predict_on_batch([code[rows], before(words).numpy()])
            for total, values in zip(sums, word_sums(logits, words), strict=True):
                np.add.at(total, rows, np.asarray(values))
        return dict(zip((NATS, HITS, COUNT), sums, strict=True))


def word_sums(logits, words):
    """-log likelihood, most probable words that are the true ones, and words with the end, of captions (b, length)."""
    from keras import ops

    weights = counted(words)
    nats = -ops.take_along_axis(ops.log_softmax(logits, -1), ops.cast(words, "int32")[..., None], 2)[..., 0]
    hits = ops.cast(ops.cast(ops.argmax(logits, -1), "int32") == ops.cast(words, "int32"), "float32")
    return [ops.sum(values * weights, 1) for values in (nats, hits, ops.ones_like(weights))]


def measuring(runtime: Runtime, table: Callable[[], Table]) -> Runtime:
    """`runtime` with what only a network in Keras can tell; files give captions alone."""
    return Measured(runtime, table()) if isinstance(runtime, KerasRuntime) else runtime
