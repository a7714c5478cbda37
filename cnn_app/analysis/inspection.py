"""A network layer by layer: shapes, parameters, multiply-adds, activation memory, receptive fields."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass

import keras

from cnn_app.analysis.complexity import complexity, multiply_adds
from cnn_app.analysis.receptive_field import TIME, views
from cnn_app.heads import plain

FLOAT_BYTES = 4
GROUP = re.compile(r"(stage\d+|inception\d\w|down\d+|bottom|up\d+|words|window\d+|delay\d+|segment\d+)_")


@dataclass(frozen=True)
class Row:
    """One layer, or a stage of them: then counts are sums, and shape and view are those of its last layer."""

    name: str
    kind: str
    shape: tuple[int, ...]  # of the output, without the batch
    parameters: int  # with moving statistics
    macs: int
    activation_bytes: int  # of the outputs in float32, for one image
    receptive_field: int | None  # pixels along a side, words, or samples; None: all of them
    stride: float | None  # pixels between neighbours of the output
    receptive_frames: int | None = None  # of a clip, along time; None: all of them, or there is no time


def rows(model: keras.Model) -> list[Row]:
    """Every layer of a functional model, in order."""
    seen, clips = views(model), len(model.inputs[0].shape) == 5
    frames = views(model, TIME) if clips else {}
    return [_row(layer, seen[layer.name], frames.get(layer.name)) for layer in model.layers]


def stages(layers: list[Row]) -> list[Row]:
    """The rows of equal stage (`stage2_...`, `inception4a_...`) as one; the others stay."""
    groups: dict[str, list[Row]] = {}
    for row in layers:
        groups.setdefault(_stage(row), []).append(row)
    return [_merged(name, group) for name, group in groups.items()]


def costs(model: keras.Model) -> dict[str, dict[str, int]]:
    """`totals` of what is deployed as "total"; those of all that trains as "training", if there is more of it."""
    deployed = plain(model)
    found = {"total": totals(deployed)}
    return found if deployed is model else found | {"training": totals(model)}


def totals(model: keras.Model) -> dict[str, int]:
    """Trainable parameters, moving statistics, multiply-adds, and memory of all and of the most activations at once."""
    every = sum(_output_bytes(layer) for layer in model.layers)
    return asdict(complexity(model)) | {"activation_bytes": every, "peak_activation_bytes": peak_bytes(model)}


def peak_bytes(model: keras.Model) -> int:
    """The most that is alive at once if layers run in order and an output is freed after its last use."""
    last_use: dict[int, int] = {}
    for step, layer in enumerate(model.layers):
        for tensor in keras.tree.flatten(layer.input):
            last_use[id(tensor)] = step
    alive: dict[int, int] = {}
    peak = 0
    for step, layer in enumerate(model.layers):
        for tensor in keras.tree.flatten(layer.output):
            alive[id(tensor)] = math.prod(tensor.shape[1:]) * FLOAT_BYTES
        peak = max(peak, sum(alive.values()))
        alive = {key: size for key, size in alive.items() if last_use.get(key, len(model.layers)) > step}
    return peak


def _row(layer: keras.Layer, view, frames) -> Row:
    shape = tuple(keras.tree.flatten(layer.output)[0].shape[1:])
    whole = view.size is None
    counts = layer.count_params(), multiply_adds(layer), _output_bytes(layer)
    return Row(layer.name, type(layer).__name__, shape, *counts, view.size, None if whole else view.stride,
               frames and frames.size)  # fmt: skip


def _output_bytes(layer: keras.Layer) -> int:
    return sum(math.prod(tensor.shape[1:]) * FLOAT_BYTES for tensor in keras.tree.flatten(layer.output))


def _stage(row: Row) -> str:
    found = GROUP.match(row.name)
    return found[1] if found else row.name


def _merged(name: str, group: list[Row]) -> Row:
    if len(group) == 1 and group[0].name == name:
        return group[0]
    end = group[-1]
    parameters, macs, memory = (
        sum(getattr(row, count) for row in group) for count in ("parameters", "macs", "activation_bytes")
    )
    return Row(name, f"{len(group)} layers", end.shape, parameters, macs, memory, end.receptive_field, end.stride,
               end.receptive_frames)  # fmt: skip
