"""From float to integers within an accuracy budget: what is tried, from the cheapest to the surest.

An int8 file is calibrated with some images, then with more, then its channels are equalized and its biases corrected,
then the layers that suffer most stay in float, then the network is trained on with rounding where that is asked for,
then its activations get 16 bits. A strategy is only climbed when the one below it lost too much. Training stands before
16 bits: its file is int8 throughout, and as fast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import keras

from cnn_app.export import targets, tflite
from cnn_app.export.quantization import correction, equalization, qat, simulation
from cnn_app.export.quantization.sensitivity import LayerError, Sensitivity
from cnn_app.tasks import Task
from cnn_app.tensors import Arrays

MOST_RECORDS = 1000  # of the second strategy
KEPT = (1, 2, 4, 8, 16)  # layers that stay in float
INT8, INT16 = "tflite-int8", "tflite-int16x8"


@dataclass(frozen=True)
class Attempt:
    """A way to write a target, and what the file then is: tflite-int8 may end as tflite-int16x8."""

    target: str
    strategy: str
    write: Callable[[Path], None]
    float_layers: tuple[str, ...] = ()
    errors: Sequence[LayerError] = ()  # of all operators, where they had to be looked at
    simulation: keras.Model | None = None  # that rounds as the file does, where it was made from one


def attempts(
    name: str, task: Task, model: keras.Model, records: Callable[[int], Arrays], calibration: int,
    tuning: qat.Tuning | None = None,
) -> Iterator[Attempt]:  # fmt: skip
    """Ways to write target `name` of a model as `graph.deployable` makes it, each made when it is asked for.

    records(n) gives up to n training records; the first strategy takes `calibration` of them.
    """
    write = partial(_write, name, task, model)
    if not targets.target(name).calibrated:
        yield Attempt(name, "", partial(write, records=None))
        return
    few = records(calibration)
    yield Attempt(name, f"{_count(few)} {task.input.plural}", partial(write, records=few))
    many = records(max(MOST_RECORDS, calibration))
    if _count(many) > _count(few):
        yield Attempt(name, f"{_count(many)} {task.input.plural}", partial(write, records=many))
    if name != INT8:
        return
    plain = simulation.folded(model)
    if simulated := not simulation.obstacle(plain):
        equalization.equalize(plain, many)
        rounding = simulation.simulated(plain, many)
        correction.correct(plain, rounding, many)
        yield _simulated(task, "equalized, biases corrected", plain, rounding)
    sensitivity = Sensitivity(task, model, many)
    worst = sensitivity.errors()
    for count in KEPT:
        if count < len(worst):
            kept = worst[:count]
            layers = tuple(error.layer for error in kept)
            yield Attempt(name, f"{count} in float", partial(_write_mixed, sensitivity, kept), layers, worst)
    if tuning is not None and simulated:
        qat.train(task, rounding, tuning)
        yield _simulated(task, f"{tuning.schedule.epochs} epochs of QAT", plain, rounding)
    if not tflite.obstacle(model, targets.target(INT16)):
        yield Attempt(INT16, f"{_count(many)} {task.input.plural}", partial(_write, INT16, task, model, records=many))


def _simulated(task: Task, strategy: str, plain: keras.Model, rounding: keras.Model) -> Attempt:
    final = simulation.rangeful(plain, rounding)
    return Attempt(INT8, strategy, partial(tflite.write_trained, task, final), simulation=final)


def _write(name: str, task: Task, model: keras.Model, path: Path, records: Arrays | None) -> None:
    target = targets.target(name)
    import_module(f"cnn_app.export.{target.module}").write(task, model, path, target, records)


def _count(records: Arrays) -> int:
    return len(next(iter(records.values())))


def _write_mixed(sensitivity: Sensitivity, kept: Sequence[LayerError], path: Path) -> None:
    path.write_bytes(sensitivity.file(kept))
