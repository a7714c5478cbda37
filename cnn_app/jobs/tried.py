"""The recipes of a search: checked before any work, with a trial's values, and as TOML again."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, fields, is_dataclass, replace

from cnn_app import registry, tasks
from cnn_app.artifacts import ModelDir
from cnn_app.errors import CnnAppError, RecipeError
from cnn_app.jobs import run as running
from cnn_app.ranges import Range
from cnn_app.recipe import Recipe, Schedule
from cnn_app.toml_tables import parse


def ranges_of(recipe: Recipe) -> dict[str, Range]:
    """ "table.key" -> its range."""
    assert recipe.tune
    return {f"{table}.{key}": found for (table, key), found in recipe.tune.ranges().items()}


def check(recipe: Recipe) -> type[tasks.Task]:
    """The class of the task. Raises RecipeError unless each value alone, of a span both ends, makes a recipe."""
    if recipe.tune is None:
        raise RecipeError(f"{recipe.name} has no [tune], which says what to search; docs/tune.md shows one")
    kind = running.check(recipe, recipe.model["name"])
    known = ModelDir(recipe.model["name"])
    network = known.read_card().architecture if known.card.is_file() else recipe.model["name"]
    for name, found in ranges_of(recipe).items():
        for value in found.samples:
            try:
                tried = with_values(recipe, {name: value})
                if name.startswith("model."):
                    registry.build(network, **running.columns_of(tried))
            except CnnAppError as error:
                raise RecipeError(f"[tune.{name.replace('.', '] ')} = {json.dumps(value)}: {error}") from error
    return kind


def with_values(recipe: Recipe, values: dict) -> Recipe:
    """The recipe with a value for each "table.key", and without ranges."""
    schedule, model = asdict(recipe.schedule), dict(recipe.model)
    for name, value in values.items():
        table, _, key = name.partition(".")
        (model if table == "model" else schedule)[key] = value
    return replace(recipe, schedule=parse(Schedule, _listed(schedule), "[schedule]"), model=model, tune=None)


def plain(recipe) -> dict:
    """A recipe, or a table of one, as TOML and JSON have it: what differs from the defaults."""
    found = {}
    for item in fields(recipe):
        value = getattr(recipe, item.name)
        default = item.default if item.default_factory is MISSING else item.default_factory()
        if value != default:
            found[item.name] = plain(value) if is_dataclass(value) else _listed(value)
    return found


def toml(recipe: Recipe) -> str:
    import tomli_w

    return tomli_w.dumps(plain(recipe))


def _listed(value):
    if isinstance(value, dict):
        return {name: _listed(one) for name, one in value.items()}
    return list(map(_listed, value)) if isinstance(value, tuple) else value
