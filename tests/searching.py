"""A part of a search by hand, and the numbers of its trials: `python searching.py FOLDER TRIALS [hold]`."""

import sys
from pathlib import Path

from cnn_app.ranges import Choices, Span
from cnn_app.training.search import Search, values

RANGES = {
    "schedule.lr": Span(1e-4, 1.0, log=True),
    "model.width": Span(0, 10),
    "schedule.augment": Choices(((), ("flip",))),
}


def opened(folder, seed=0, patience=0, ranges=None, directions=("maximize",)):
    return Search(Path(folder), ranges or RANGES, list(directions), seed, patience)


def height(found):
    """Of a hill with its top at a rate of 0.01, a width of 7, and a flip."""
    import math

    far = abs(math.log10(found["schedule.lr"]) + 2) + abs(found["model.width"] - 7) / 10
    return (found["schedule.augment"] == ("flip",)) - far


def climb(folder, trials, **options):
    """The trials that were carried out here: number -> what was drawn."""
    search, done = opened(folder, **options), {}
    while True:
        with search.claimed(trials) as trial:
            if trial is None:
                return done
            done[trial.number] = values(trial)
            search.study.tell(trial, height(done[trial.number]))


if __name__ == "__main__":
    folder, trials = sys.argv[1], int(sys.argv[2])
    if sys.argv[3:]:
        with opened(folder).claimed(trials) as trial:
            print(trial.number, flush=True)
            sys.stdin.read()
    else:
        print(*climb(folder, trials))
