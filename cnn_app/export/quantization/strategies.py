"""From float to integers within an accuracy budget: what is tried, from the cheapest to the surest.

An int8 file is calibrated with some images, or with more, or its channels are equalized, its kernels rounded for what
they read and its biases corrected: these three are equally fast, and compared. Then the layers that suffer most stay in
float, then the network is trained on with rounding where that is asked for, then its activations get 16 bits. One of
these is only tried when all before it lost too much. Training stands before 16 bits: its file is int8 throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
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
EQUALIZED = "equalized, rounded by layer"
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
) -> Iterator[Iterable[Attempt]]:  # fmt: skip
    """Ways to write target `name` of a model as `graph.deployable` makes it, equally fast ones together.

    Each is made when it is asked for. records(n) gives up to n training records; the first strategy takes `calibration`
    of them.
    """
    write = partial(_write, name, task, model)
    if not targets.target(name).calibrated:
        yield [Attempt(name, "", partial(write, records=None))]
        return
    many = cache(lambda: records(max(MOST_RECORDS, calibration)))
    corrected = cache(lambda: _corrected(model, many()) if name == INT8 else None)

    def equally_fast() -> Iterator[Attempt]:
        few = records(calibration)
        yield Attempt(name, f"{_count(few)} {task.input.plural}", partial(write, records=few))
        if _count(many()) > _count(few):
            yield Attempt(name, f"{_count(many())} {task.input.plural}", partial(write, records=many()))
        if models := corrected():
            yield _simulated(task, EQUALIZED, *models)

    yield equally_fast()
    if name != INT8:
        return
    sensitivity = Sensitivity(task, model, many())
    worst = sensitivity.errors()
    for count in KEPT:
        if count < len(worst):
            kept = worst[:count]
            layers = tuple(error.layer for error in kept)
            yield [Attempt(name, f"{count} in float", partial(_write_mixed, sensitivity, kept), layers, worst)]
    if tuning is not None and (models := corrected()):
        qat.train(task, models[1], tuning)
        yield [_simulated(task, f"{tuning.schedule.epochs} epochs of QAT", *models)]
    if not tflite.obstacle(model, targets.target(INT16)):
        strategy, write = f"{_count(many())} {task.input.plural}", partial(_write, INT16, task, model, records=many())
        yield [Attempt(INT16, strategy, write)]


def _corrected(model: keras.Model, records: Arrays) -> tuple[keras.Model, keras.Model] | None:
    """The folded network with equalized channels, and its simulation, rounded by layer; None if it has none."""
    plain = simulation.folded(model)
    if simulation.obstacle(plain):
        return None
    equalization.equalize(plain, records)
    rounding = simulation.simulated(plain, records)
    correction.correct(plain, rounding, records)
    return plain, rounding


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
