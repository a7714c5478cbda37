"""The command that a run can be repeated by, from its card."""

from __future__ import annotations

import shlex
from dataclasses import fields

from cnn_app.artifacts import Card
from cnn_app.recipe import Schedule, Transfer


def command(card: Card) -> str:
    """Without what the defaults are; empty for a model that was not trained here."""
    if not card.recipe or not card.data.get("source"):
        return ""
    transfer = card.recipe.get("transfer")
    words = ["cnn-app", "finetune" if transfer else "train", card.architecture, "--data", str(card.data["source"])]
    if card.data.get("directory"):
        words += ["--data-dir", str(card.data["directory"])]
    for name, value in card.columns.items():
        if name != "classes":  # follows from the data
            words += ["-c", f"{name}={_value(value)}"]
    words += _options(card.recipe, Schedule())
    if transfer:
        words += _options({name: value for name, value in transfer.items() if name != "weights"}, Transfer())
        words += ["--from", str(transfer["weights"])] if transfer.get("weights") else []
    return shlex.join([*words, "--out", "DIR"])


def _options(given: dict, default) -> list[str]:
    words = []
    for item in fields(default):
        value, usual = given.get(item.name), getattr(default, item.name)
        if item.name not in given or _plain(value) == _plain(usual):
            continue
        option = f"--{item.name.replace('_', '-')}"
        if isinstance(usual, bool):
            words += [option] if value else []
        elif isinstance(usual, tuple) and item.name != "augment":
            words += [word for one in value for word in (option, str(one))]
        else:
            words += [option, ",".join(value) or "none" if isinstance(value, list | tuple) else str(value)]
    return words


def _plain(value):
    return list(value) if isinstance(value, tuple) else value


def _value(value) -> str:
    """As TOML has it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
