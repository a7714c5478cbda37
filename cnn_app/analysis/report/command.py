"""The command that a run can be repeated by, from its card."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields

from cnn_app import registry, tasks
from cnn_app.architectures.reference import REFERENCE
from cnn_app.artifacts import Card
from cnn_app.data.division import as_given
from cnn_app.recipe import Data, Distillation, Schedule, Transfer

LISTS = ("augment", "milestones")  # that one option has whole; of others each has its own
NAMES = {"weights": "from", "share": "teacher-share"}


def command(card: Card) -> str:
    """Without what the defaults are; empty for a model that was not trained here."""
    transfer, taught = card.recipe.get("transfer"), card.recipe.get("distillation")
    network = card.architecture if card.architecture in REFERENCE else (transfer or {}).get("weights")
    if not card.recipe or not card.data.get("source") or not network:
        return ""
    words = ["cnn-app", "finetune" if transfer else "train", network, "--data", str(card.data["source"])]
    if card.data.get("directory"):
        words += ["--data-dir", str(card.data["directory"])]
    division = as_given(card.data["split"]) if card.data.get("split") else {}
    words += _options({**card.data, "split": None, **division}, Data, frozenset({"source", "directory"}))
    for name, value in card.columns.items():
        if name != "classes":  # follows from the data
            words += ["-c", f"{name}={_value(value)}"]
    for name, value in _task(card).items():
        words += ["-t", f"{name}={_value(value)}"]
    words += _options(card.recipe, Schedule, always=bool(transfer))  # finetune's defaults are others
    words += _options(transfer or {}, Transfer) + _options(taught or {}, Distillation)
    return shlex.join([*words, "--out", "DIR"])


def _task(card: Card) -> dict:
    """What [task] says of a network's row, where that is not what is so anyway."""
    kind = tasks.named(card.task)
    usual = {item.name: _default(item) for item in fields(kind)}
    row = registry.family(card.architecture).VARIANTS[card.architecture] if card.architecture in REFERENCE else None
    name = {tasks.NAME: card.task} if row and row.task != card.task else {}
    return name | {option: value for option, value in card.options.items()
                   if option in tasks.options_of(kind) and _plain(value) != _plain(usual[option])}  # fmt: skip


def _options(given: Mapping, kind: type, without: frozenset[str] = frozenset(), *, always: bool = False) -> list[str]:
    words = []
    for item in fields(kind):
        value = given.get(item.name)
        if value is None or item.name in without or (not always and _plain(value) == _plain(_default(item))):
            continue
        option = f"--{NAMES.get(item.name, item.name.replace('_', '-'))}"
        if isinstance(value, bool):
            words += [option] if value else []
        elif isinstance(value, list | tuple) and item.name not in LISTS:
            words += [word for one in value for word in (option, str(one))]
        elif isinstance(value, list | tuple):
            words += [option, ",".join(map(str, value)) or "none"]
        else:
            words += [option, str(value)]
    return words


def _default(item: Field):
    return None if item.default is MISSING else item.default


def _plain(value):
    return list(value) if isinstance(value, tuple) else value


def _value(value) -> str:
    """As TOML has it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
