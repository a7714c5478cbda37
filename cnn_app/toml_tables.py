"""Tables of TOML as frozen dataclasses. Strict: nothing unknown passes, and nothing of another type."""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, fields

from cnn_app.errors import RecipeError, unknown


def parse(kind: type, values: dict, where: str):
    """The dataclass `kind` from a TOML table; unknown keys and wrong types are refused."""
    known = {item.name: item for item in fields(kind)}
    types_of = typing.get_type_hints(kind)
    for name in values:
        if name not in known:
            raise unknown(f"key of {where}", name, known, RecipeError)
    for name, item in known.items():
        if name not in values and item.default is MISSING and item.default_factory is MISSING:
            raise RecipeError(f"{where} needs {name}")
    return kind(**{name: _value(types_of[name], value, f"[{name}]") for name, value in values.items()})


def _value(kind, value, where: str):
    """`value` as the annotated type; TOML's arrays become tuples, its integers floats where those are asked for."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kind = next(option for option in typing.get_args(kind) if option is not type(None))
    if typing.get_origin(kind) is tuple:
        return _tuple(typing.get_args(kind), value, where)
    if kind is float and type(value) is int:
        return float(value)
    table = kind is dict or hasattr(kind, "__dataclass_fields__")
    if type(value) is not (dict if table else kind):
        raise RecipeError(f"{where} is a {'table' if table else kind.__name__}, received {value!r}")
    if table:
        return _frozen(value) if kind is dict else parse(kind, value, where)
    return value


def _tuple(kinds: tuple, value, where: str) -> tuple:
    if not isinstance(value, list) or (kinds[-1] is not Ellipsis and len(value) != len(kinds)):
        length = "" if kinds[-1] is Ellipsis else f" of {len(kinds)}"
        raise RecipeError(f"{where} is a list{length}, received {value!r}")
    return tuple(_value(kinds[0], item, where) for item in value)


def _frozen(value):
    if isinstance(value, dict):
        return {name: _frozen(item) for name, item in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
