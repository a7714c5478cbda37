"""A sentence with its entities, or with the tag of each word, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cnn_app.errors import printable
from cnn_app.tasks import bio
from cnn_app.tasks.drawing import save
from cnn_app.tasks.mask_pictures import legend

WIDE, LETTER, LINE = 90, 0.085, 0.5  # letters of a line, and inches of a letter and of a line
MOST_LINES = 100
FONT = {"family": "monospace", "parse_math": False}


def draw(answer: dict, labels: Sequence[str], path: Path) -> None:
    """An answer of `bio.told` as a PNG: words on coloured ground, under it what they are.

    labels: all tags, so that each kind has its colour in every picture.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    kinds = bio.scheme(tuple(labels)).kinds
    colours = dict(zip(kinds, legend(len(kinds)), strict=True))
    places = placed([printable(word) for word in answer["words"]])
    lines = min(MOST_LINES, 1 + max((line for line, _ in places), default=0))
    figure = Figure((WIDE * LETTER + 0.4, lines * LINE + 0.2))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-2, WIDE + 2), ylim=(lines - 0.2, -0.6))
    axes.axis("off")
    entities = bio.is_bio(labels)
    runs = bio.runs(answer["tags"]) if entities else ((i, i + 1, tag) for i, tag in enumerate(answer["tags"]))
    for first, behind, kind in runs:
        parts = [(line, start, start + len(answer["words"][i])) for i, (line, start) in enumerate(places)
                 if first <= i < behind]  # fmt: skip
        for line in sorted({line for line, *_ in parts}):
            left = min(start for row, start, _ in parts if row == line)
            right = max(end for row, _, end in parts if row == line)
            if entities:
                ground = Rectangle((left - 0.4, line - 0.35), right - left + 0.8, 0.9, color=colours[kind], alpha=0.35)
                axes.add_patch(ground)
            axes.text((left + right) / 2, line + 0.38, kind, size=6, ha="center", va="center", color="0.3", **FONT)
    for word, (line, start) in zip(answer["words"], places, strict=True):
        axes.text(start, line, printable(word), size=10, va="center", **FONT)
    save(figure, path)


def placed(words: Sequence[str]) -> list[tuple[int, int]]:
    """(line, first letter) of each word, with a space between them."""
    found, line, start = [], 0, 0
    for word in words:
        if start and start + len(word) > WIDE:
            line, start = line + 1, 0
        found.append((line, start))
        start += len(word) + 1
    return found
