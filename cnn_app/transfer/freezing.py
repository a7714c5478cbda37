"""What keeps its weights, from which epoch on, and how much slower early layers learn."""

from __future__ import annotations

from itertools import pairwise

import keras
from keras import layers

from cnn_app.errors import TrainingError
from cnn_app.recipe import Transfer
from cnn_app.training.freeze_schedule import FreezeSchedule, Phase, learns
from cnn_app.transfer import is_head, layers_at


def schedule(model: keras.Model, transfer: Transfer, epochs: int) -> FreezeSchedule:
    """The phases that `transfer` asks for, and the rates of the layers of `model`.

    Raises UnknownName for a layer or stage that is not there, TrainingError for epochs that do not come.
    """
    starts = [(1, transfer.freeze), *(_parsed(text, epochs) for text in transfer.unfreeze_at)]
    for (before, _), (after, _) in pairwise(starts):
        if after <= before:
            raise TrainingError(f"--unfreeze-at goes from earlier to later epochs; received {after} after {before}")
    phases = [Phase(epoch - 1, frozen(model, upto, transfer.train_batch_norm)) for epoch, upto in starts]
    return FreezeSchedule(tuple(phases), factors(model, transfer.layer_decay))


def frozen(model: keras.Model, upto: str, train_batch_norm: bool = False) -> frozenset[str]:
    """Names of the layers that keep their weights; all batch normalization but heads' does, unless it is to train.

    upto: "none", "backbone" (all but heads), or a layer or stage, which is frozen together with all in front of it.
    """
    if upto == "none":
        kept = set()
    elif upto == "backbone":
        kept = {layer.name for layer in model.layers if not is_head(layer.name)}
    else:
        outputs = [layer.output for layer in layers_at(model, upto)]
        kept = {layer.name for layer in keras.Model(model.input, outputs).layers}
    kept |= {layer.name for layer in model.layers if layer.weights and not layer.trainable}  # built to stay
    if not train_batch_norm:
        norms = (layer.name for layer in model.layers if isinstance(layer, layers.BatchNormalization))
        kept |= {name for name in norms if not is_head(name)}
    return frozenset(kept)


def factors(model: keras.Model, decay: float) -> dict[str, float]:
    """Layer name -> decay to the number of stages between it and the head. The stage is the name's first part."""
    if decay == 1:
        return {}
    stages = list(dict.fromkeys(stage_of(layer.name) for layer in model.layers if layer.weights))
    return {layer.name: decay ** (len(stages) - 1 - stages.index(stage_of(layer.name)))
            for layer in model.layers if layer.weights}  # fmt: skip


def stage_of(name: str) -> str:
    """stage3 of stage3_unit2_b_conv."""
    return name.split("_")[0]


def describe(model: keras.Model, freeze: FreezeSchedule) -> list[str]:
    """A line for each phase: what learns in it."""
    lines = []
    total = sum(1 for layer in model.layers if layer.weights)
    for phase in freeze.phases:
        weights, names = learns(model, phase)
        which = f" ({', '.join(names)})" if len(names) < 4 else f" ({names[0]} to {names[-1]})"
        lines.append(f"from epoch {phase.epoch + 1}: {weights:,} of {model.count_params():,} weights learn, "
                     f"in {len(names)} of {total} layers{which}")  # fmt: skip
    return lines


def _parsed(text: str, epochs: int) -> tuple[int, str]:
    """5:stage3 -> (5, "stage3"); 5 -> (5, "none")."""
    epoch, _, upto = text.partition(":")
    if not epoch.isdecimal() or not 2 <= int(epoch) <= epochs:
        raise TrainingError(f"--unfreeze-at is an epoch from 2 to the last, {epochs}, as in 5 or 5:stage3; "
                            f"received {text!r}")  # fmt: skip
    return int(epoch), upto or "none"
