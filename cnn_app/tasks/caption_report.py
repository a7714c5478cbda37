"""How well captions fit those that people wrote: BLEU of a whole set (Papineni et al., ACL 2002), by sacreBLEU, and the
perplexity of a word where it is known what people said before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path

import numpy as np

from cnn_app.errors import DataError
from cnn_app.tasks.mistakes import Mistake

ORDER = 4  # words of the longest that are compared
NATS, HITS, COUNT = "nats", "hits", "count"  # of all captions of a record: -log likelihood, words found, words and ends


def bleu(found: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """BLEU-1 to BLEU-4 in [0, 1], of captions of words with spaces between, each against all of its references.

    Without smoothing; the brevity is by the reference of the closest length.
    """
    score = _scorer().corpus_score(list(found), _streams(references))
    shares = [share / 100 for share in score.precisions]
    return [score.bp * math.prod(shares[:n]) ** (1 / n) for n in range(1, ORDER + 1)]


def _scorer(**options):
    try:
        from sacrebleu.metrics import BLEU
    except ImportError as error:
        raise DataError("captions are measured by sacrebleu, which is not installed; pip install sacrebleu") from error
    return BLEU(**{"tokenize": "none", "smooth_method": "none", "force": True, **options})


def _streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """The first reference of each caption, the second of each, and so on."""
    return [list(stream) for stream in zip_longest(*references)]


@dataclass(frozen=True, eq=False)
class Report:
    """Of n images. likelihood: sums over their captions by NATS, HITS and COUNT, of a network that can tell."""

    captions: list[str]
    references: list[list[str]]
    chances: np.ndarray  # (n,), the probability of a word of each caption: the geometric mean
    likelihood: dict[str, float]
    searched: dict[str, list[str]]  # captions by the name of another way to find them

    @property
    def n(self) -> int:
        return len(self.captions)

    @cached_property
    def metrics(self) -> dict:
        found = {f"bleu{n}": value for n, value in enumerate(bleu(self.captions, self.references), start=1)}
        found |= {f"bleu4_{name}": bleu(captions, self.references)[-1] for name, captions in self.searched.items()}
        if self.likelihood:
            loss = self.likelihood[NATS] / self.likelihood[COUNT]
            found |= {"perplexity": math.exp(min(loss, 100.0)), "loss": loss,
                      "word_accuracy": self.likelihood[HITS] / self.likelihood[COUNT]}  # fmt: skip
        return found | {"n": self.n}

    def tables(self) -> list[tuple[list[str], list[tuple]]]:
        lengths = [np.mean([len(caption.split()) for caption in several]) for several in (
            self.captions, [one for captions in self.references for one in captions])]  # fmt: skip
        rows = [
            ("the model's", f"{lengths[0]:.1f}", len(set(self.captions)), self.n),
            ("people's", f"{lengths[1]:.1f}", len({*sum(self.references, [])}), sum(map(len, self.references))),
        ]
        return [(["captions", ">words", ">different", ">n"], rows)]

    def as_json(self) -> dict:
        return self.metrics

    def draw(self, path: Path) -> None:
        from cnn_app.tasks.drawing import draw_bars

        names = [name for name in self.metrics if name.startswith("bleu")]
        shares = np.array([self.metrics[name] for name in names])
        draw_bars([name.replace("bleu", "BLEU-") for name in names], shares, "BLEU", f"{self.n:,} captions", path)

    def mistakes(self, most: int) -> list[Mistake]:
        """The captions that share least with what people wrote, by smoothed BLEU of each."""
        scorer = _scorer(smooth_method="exp", effective_order=True)
        pairs = zip(self.captions, self.references, strict=True)
        scores = np.array([scorer.sentence_score(*pair).score for pair in pairs])
        return [Mistake(int(i), self.references[i][0], self.captions[i], float(self.chances[i]))
                for i in np.argsort(scores, kind="stable")[:most]]  # fmt: skip
