"""What tags say of entities, in the scheme IOB2: B-person begins one, I-person goes on with it, O is outside of any.

An I- that follows nothing of its type is one that begins. So it is counted by conlleval and by seqeval's default mode,
and so it is repaired, to B-: in data, which brings IOB1 to IOB2, and in what a network says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

OUTSIDE = "O"
PARTS = re.compile(r"([BI])-(.+)", re.DOTALL)
ABSENT = -1  # the place of a tag where there is no word


@dataclass(frozen=True, eq=False)
class Scheme:
    """What each tag, by its place, is. Tags that are not of IOB2 are a kind each, and every word is one by itself."""

    kinds: tuple[str, ...]
    kind: np.ndarray  # (tags,), the place of its kind, -1 for what is outside
    inside: np.ndarray  # (tags,), whether it goes on with its kind
    begin: np.ndarray  # (tags,), the tag that begins its kind; itself where there is none

    def repaired(self, tags: np.ndarray) -> np.ndarray:
        """Tags (n, words) with what begins as such."""
        return np.where((tags >= 0) & self.inside[tags] & self._starts(tags), self.begin[tags], tags)

    def _kinds(self, tags: np.ndarray) -> np.ndarray:
        return np.where(tags >= 0, self.kind[tags], -1)

    def _starts(self, tags: np.ndarray) -> np.ndarray:
        kinds = self._kinds(tags)
        before = np.pad(kinds[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
        return (kinds >= 0) & ~(self.inside[tags] & (kinds == before))

    def spans(self, tags: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where entities start, bool (n, words), of which kind, and in front of which word each ends."""
        kinds, starts = self._kinds(tags), self._starts(tags)
        length = tags.shape[1]
        over = np.where(starts | (kinds < 0), np.arange(length), length)  # where what was there before is none more
        ends = np.minimum.accumulate(over[:, ::-1], 1)[:, ::-1]
        return starts, kinds, np.pad(ends[:, 1:], ((0, 0), (0, 1)), constant_values=length)

    def counts(self, found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Entities of tags (n, words) that are right, found, and there, (3, kinds): right where all words and the kind
        are.
        """
        (start, kind, end), (start_, kind_, end_) = self.spans(found), self.spans(wanted)
        right = start & start_ & (kind == kind_) & (end == end_)
        chosen = (kind[right], kind[start], kind_[start_])
        return np.stack([np.bincount(kinds, minlength=len(self.kinds)) for kinds in chosen])


@lru_cache(maxsize=16)
def scheme(labels: tuple[str, ...]) -> Scheme:
    if not is_bio(labels):
        places = np.arange(len(labels))
        return Scheme(labels, places, np.zeros(len(labels), bool), places)
    parts = [PARTS.fullmatch(label) for label in labels]
    kinds = tuple(sorted({part[2] for part in parts if part}))
    begins = {part[2]: place for place, part in enumerate(parts) if part and part[1] == "B"}
    return Scheme(
        kinds,
        np.array([kinds.index(part[2]) if part else -1 for part in parts]),
        np.array([bool(part) and part[1] == "I" for part in parts]),
        np.array([begins.get(part[2], place) if part else place for place, part in enumerate(parts)]),
    )


def is_bio(labels: Sequence[str]) -> bool:
    """Whether tags tell entities; a sentence without any has nothing but O."""
    return bool(labels) and all(label == OUTSIDE or PARTS.fullmatch(label) for label in labels)


def runs(tags: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """(first word, the one behind the last, kind) of each entity of one sentence."""
    start, open_kind = 0, ""
    for place, tag in enumerate((*tags, OUTSIDE)):
        part = PARTS.fullmatch(tag)
        goes_on = part is not None and part[1] == "I" and part[2] == open_kind
        if open_kind and not goes_on:
            yield start, place, open_kind
        if not goes_on:
            start, open_kind = place, part[2] if part else ""


def told(tags: Sequence[str], scores: Sequence[float], text: str, starts: Sequence[int], ends: Sequence[int]) -> dict:
    """{"entities": [{"label", "text", "start", "end", "probability"}], "words", "tags"} of one text.

    start, end: characters. probability: the mean over its words of what the network gave their tags.
    """
    found = [{"label": kind, "text": text[starts[first] : ends[behind - 1]], "start": int(starts[first]),
              "end": int(ends[behind - 1]), "probability": float(np.mean(scores[first:behind]))}
             for first, behind, kind in runs(tags)]  # fmt: skip
    words = [text[start:end] for start, end in zip(starts, ends, strict=True)]
    return {"entities": found, "words": words, "tags": list(tags)}


def line(answer: dict) -> str:
    """`told` in a line: the entities, or with other tags each word."""
    if not is_bio(answer["tags"]):
        return " ".join(f"{word}/{tag}" for word, tag in zip(answer["words"], answer["tags"], strict=True))
    shown = [f"{one['text']}: {one['label']} {one['probability']:.3f}" for one in answer["entities"]]
    return ", ".join(shown) or "no entity"
