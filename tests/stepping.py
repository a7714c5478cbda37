"""Five steps of a saved network on saved batches, on whatever backend there is: `python stepping.py FOLDER...`."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from cnn_app import tasks
from cnn_app.data.dataset import Split, in_memory
from cnn_app.recipe import Schedule
from cnn_app.runtimes.keras_model import load
from cnn_app.training import engine

STEPS = 5
SCHEDULE = Schedule(optimizer="sgd", lr=1e-3)


def write(folder, model, task, inputs, targets, known):
    """known: the targets as a split has them, by which losses are weighed."""
    folder.mkdir()
    model.save(folder / "model.keras")
    (folder / "task.json").write_text(json.dumps(tasks.facts(task)))
    for name, arrays in (("inputs", inputs), ("targets", targets), ("known", known)):
        np.savez(folder / f"{name}.npz", **arrays)


def losses(folder, steps=STEPS, devices=(), **changes):
    task = tasks.of_facts(json.loads((folder / "task.json").read_text()))
    inputs, targets, known = (dict(np.load(folder / f"{name}.npz")) for name in ("inputs", "targets", "known"))
    split = Split([""] * len(next(iter(known.values()))), {}, {name: in_memory(one) for name, one in known.items()})
    model = load(folder / "model.keras", trust=True)
    run = engine.stepper(model, task, split, replace(SCHEDULE, **changes), devices=devices)
    for _ in range(steps):
        run.train(inputs, targets, SCHEDULE.lr)
    return [logs["loss"] for logs in run.read()]


if __name__ == "__main__":
    print(json.dumps([losses(Path(folder)) for folder in sys.argv[1:]]))
