"""What the training loop costs beside the steps themselves, and losses that are read together against one by one.

python benchmarks/training.py [--rounds 10]
"""

from __future__ import annotations

import argparse
import time

import measure
import numpy as np

from cnn_app.cli.view import table

STEPS = 160  # of which a figure is the mean; fewer of large images
BARE, LOOP, EACH, DATA = "the graph", "the loop", "read at each step", "with its data"
NETWORKS = {
    "perceptron": ({"image": (8, 8, 1)}, 8), "lenet5": ({}, 32), "resnet20": ({"image": (32, 32, 3)}, 16),
    "mobilenet_v2": ({"image": (96, 96, 3)}, 16),
}  # fmt: skip  # columns, batch


def competitors(name: str) -> tuple[dict, int]:
    """Calls of several steps, and how many they are."""
    import keras

    import cnn_app
    from cnn_app import tasks
    from cnn_app.data.dataset import Split, in_memory
    from cnn_app.recipe import Schedule
    from cnn_app.training import engine
    from cnn_app.training.checkpoint import Position

    columns, batch = NETWORKS[name]
    model = cnn_app.create_model(name, classes=2, **columns)
    task = tasks.of_facts({"input": {"image": list(model.input_shape[1:])}, "labels": ["a", "b"]})
    steps = STEPS if batch * np.prod(model.input_shape[1:]) < 50_000 else 16
    random, schedule = np.random.default_rng(0), Schedule(batch=batch, augment=())
    images = random.integers(0, 256, (batch * steps, *model.input_shape[1:])).astype(np.uint8)
    classes = np.arange(len(images)) % 2
    split = Split([""] * len(images), {"image": in_memory(images)}, {"class": in_memory(classes)})
    run = engine.stepper(model, task, split, schedule)
    inputs = {"image": keras.ops.convert_to_tensor(images[:batch])}
    targets = {"class": keras.ops.one_hot(classes[:batch], 2)}

    ready = Ready(steps, (inputs, targets))

    def bare() -> None:
        for _ in range(steps):
            run.train(inputs, targets, 1e-3)
        run.read()

    def loop(stream) -> None:
        for _ in engine.passed(run, stream, schedule, Position()):
            pass

    def each() -> None:
        for step in range(steps):
            run.train(inputs, targets, 1e-3 + 1e-6 * step)
            run.read()

    return {BARE: bare, LOOP: lambda: loop(ready), EACH: each,
            DATA: lambda: loop(task.stream(model, split, schedule))}, steps  # fmt: skip


def alternately(calls: dict, rounds: int) -> dict[str, float]:
    """Name -> the least ms of the main thread, of calls in turns after one that traces."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            start = time.thread_time()
            call()
            times[name] += [(time.thread_time() - start) * 1e3] * (turn > 0)
    return {name: min(taken) for name, taken in times.items()}


class Ready:
    """A stream of one batch again and again."""

    acts = False

    def __init__(self, steps: int, batch: tuple):
        self.steps, self.batch = steps, batch

    def batches(self, epoch: int, skip: int = 0):
        yield from [self.batch] * (self.steps - skip)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("networks", nargs="*", choices=[[], *NETWORKS])
    given = parser.parse_args()
    measure.quiet_tensorflow()
    rows = []
    for name in given.networks or NETWORKS:
        calls, steps = competitors(name)
        times = {one: least / steps for one, least in alternately(calls, given.rounds).items()}
        rows.append((name, *(f"{times[one]:.3f}" for one in calls), f"{times[LOOP] - times[BARE]:.3f}"))
    table(["ms a step, the least", *(f">{one}" for one in (BARE, LOOP, EACH, DATA)), ">loop - graph"], rows)


if __name__ == "__main__":
    main()
