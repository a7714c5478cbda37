"""Curves as SVG that takes its colours from the page, so that they fit dark and light."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 12, 36  # of the frame
COLOURS = 8  # that the page has, as classes c0 to c7
DASHES = ("", "6 3", "2 3", "8 3 2 3")  # curves differ without colours, too


def curves(
    series: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str, marked: float | None = None,
) -> str:  # fmt: skip
    """Lines through points (x, y) by name; a dotted line at x = `marked`. Empty where there is nothing to draw."""
    known = {name: [point for point in points if all(map(math.isfinite, point))] for name, points in series.items()}
    known = {name: points for name, points in known.items() if points}
    if not known:
        return ""
    every = [point for points in known.values() for point in points]
    low, high = min(y for _, y in every), max(y for _, y in every)
    low, high = (low, high) if high > low else (low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1))
    first, last = min(x for x, _ in every), max(x for x, _ in every)
    last = last if last > first else first + 1

    def at(x: float, y: float) -> tuple[float, float]:
        return (LEFT + (x - first) / (last - first) * (WIDTH - LEFT - RIGHT),
                HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM))  # fmt: skip

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(up)} by {escape(across)}">']
    for y in ticks(low, high):
        _, place = at(first, y)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>'
                     f'<text x="{LEFT - 5}" y="{place + 3:.1f}" text-anchor="end">{y:.4g}</text>')  # fmt: skip
    for x in ticks(first, last, whole=True):
        place, _ = at(x, low)
        parts.append(f'<text x="{place:.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{x:.4g}</text>')
    if marked is not None and first <= marked <= last:
        place, _ = at(marked, low)
        parts.append(f'<line class="mark" x1="{place:.1f}" x2="{place:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    for number, (name, points) in enumerate(known.items()):
        path = " ".join("{:.1f},{:.1f}".format(*at(*point)) for point in points)
        kind, dash = f"c{number % COLOURS}", DASHES[number % len(DASHES)]
        if len(points) == 1:
            x, y = at(*points[0])
            parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
        parts.append(f'<polyline class="{kind}" points="{path}" stroke-dasharray="{dash}"><title>{escape(name)}</title>'
                     "</polyline>")  # fmt: skip
    parts.append(f'<text x="{(WIDTH + LEFT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(across)}</text></svg>')
    keys = "".join(
        f'<span><svg class="key" viewBox="0 0 24 8"><line class="c{number % COLOURS}" x1="0" x2="24" y1="4" y2="4" '
        f'stroke-dasharray="{DASHES[number % len(DASHES)]}"/></svg>{escape(name)}</span>'
        for number, name in enumerate(known) if name
    )  # fmt: skip
    return f"<figure><figcaption>{escape(up)}</figcaption>{''.join(parts)}<div class=keys>{keys}</div></figure>"


def ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """About five round numbers from low to high."""
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step = next(step * factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 5)
    step = max(1.0, round(step)) if whole else step
    start = math.ceil(low / step - 1e-9)
    return [step * number for number in range(start, math.floor(high / step + 1e-9) + 1)]
