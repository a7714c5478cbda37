"""What a search leaves for people: a row for each trial, and a picture of how they compare."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from cnn_app.atomic import write_csv
from cnn_app.tasks.drawing import save

TRIAL, STATE = "trial", "state"
COMPLETE, PRUNED, FAILED, RUNNING = "complete", "pruned", "failed", "running"
TITLES = {"multiply_adds": "multiply-adds", "int8_latency": "int8, ms on one thread"}  # of costs
MOST_NUMBERED = 12  # trials on a front that are called by their numbers


def write(path: Path, rows: Sequence[dict]) -> None:
    """As CSV; lists as in JSON."""
    write_csv(path, [{name: json.dumps(one) if isinstance(one, tuple) else one for name, one in row.items()}
                     for row in rows])  # fmt: skip


def draw(rows: Sequence[dict], metric: str, cost: str | None, best: Sequence[int], titles: Mapping[str, str],
         lower: bool, title: str, path: Path) -> None:  # fmt: skip
    """Trials by cost and metric with the front of the `best`, or by their numbers with the best so far, as PNG.

    rows: as `trials.csv` has them. lower: whether less of the metric is better.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    across = cost or TRIAL
    figure = Figure((7.5, 4.6), layout="constrained")
    axes = figure.add_subplot()
    for state, marker, colour in ((COMPLETE, "o", "C0"), (PRUNED, "x", "0.6")):
        found = [row for row in rows if row[STATE] == state and row.get(metric) is not None and across in row]
        if found:
            axes.plot([row[across] for row in found], [row[metric] for row in found], marker, color=colour, label=state)
    done = [row for row in rows if row[STATE] == COMPLETE]
    line = sorted((row for row in done if row[TRIAL] in best), key=lambda row: row[across]) if cost else _records(
        done, metric, lower)  # fmt: skip
    style = {"drawstyle": "steps-post", "color": "C1", "zorder": 1, "label": "front" if cost else "best so far"}
    places = [row[across] for row in line]
    heights = [row[metric] for row in line]
    if not cost and done:  # the best holds until the last trial
        places, heights = [*places, max(row[TRIAL] for row in rows)], [*heights, heights[-1]]
    axes.plot(places, heights, **style)
    for row in line[:MOST_NUMBERED]:
        axes.annotate(
            str(row[TRIAL]), (row[across], row[metric]), xytext=(4, 5), textcoords="offset points", fontsize=8
        )
    if cost and done and max(row[cost] for row in done) > 20 * min(row[cost] for row in done):
        axes.set_xscale("log")
    if not cost:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel=TITLES.get(across, across), ylabel=f"{titles[metric]} on val", title=title)
    axes.legend()
    save(figure, path)


def _records(rows: Sequence[dict], metric: str, lower: bool) -> list[dict]:
    """Those that are better than all before them."""
    found: list[dict] = []
    for row in rows:
        if not found or (row[metric] < found[-1][metric] if lower else row[metric] > found[-1][metric]):
            found.append(row)
    return found
