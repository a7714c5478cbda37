"""The mean of the weights of several models of one network (Izmailov et al., arXiv:1803.05407; arXiv:2203.05482)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import keras
import numpy as np

from cnn_app import tasks
from cnn_app.artifacts import Card, ModelDir
from cnn_app.errors import ModelError
from cnn_app.runtimes.keras_model import load

SAME = ("architecture", "columns", "labels", "task", "options", "input")  # of the cards, as trained


def average(sources: Sequence[ModelDir]) -> tuple[keras.Model, Card]:
    """The mean of the models in `sources`, batch statistics included, and a card that no metrics stand on yet.

    Raises ModelError for models of different networks or labels.
    """
    cards = [_as_trained(source.read_card()) for source in sources]
    for source, card in zip(sources[1:], cards[1:], strict=True):
        for name in SAME:
            if getattr(card, name) != getattr(cards[0], name):
                raise ModelError(f"{source.path} has another {name} than {sources[0].path}: "
                                 f"{getattr(card, name)!r} and {getattr(cards[0], name)!r}")  # fmt: skip
    mean = load(sources[0].path)
    total = [np.asarray(weight, np.float64) for weight in mean.get_weights()]
    for source in sources[1:]:
        total = [a + b for a, b in zip(total, load(source.path).get_weights(), strict=True)]
    mean.set_weights([part / len(sources) for part in total])
    recipe = {"average_of": [str(source.path) for source in sources]}
    return mean, replace(cards[0], recipe=recipe, metrics={}, digests={})


def _as_trained(card: Card) -> Card:
    """Without what was learned from the answers of one model, such as thresholds."""
    learned = tasks.named(card.task).learned
    return replace(card, options={name: value for name, value in card.options.items() if name not in learned})
