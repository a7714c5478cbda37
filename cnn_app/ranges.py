"""What a search may choose from: the ranges of a recipe's [tune], of which each trial takes a value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from cnn_app.errors import RecipeError, unknown

COSTS = ("multiply_adds", "int8_latency")
MOST_TRIALS = 10**5


@dataclass(frozen=True)
class Choices:
    """One of several values of any kind."""

    values: tuple

    @property
    def samples(self) -> tuple:
        """Values that stand for all: what is wrong with the range is wrong with one of them."""
        return self.values


@dataclass(frozen=True)
class Span:
    """A number from `low` to `high`, both included; whole where both are."""

    low: float
    high: float
    log: bool = False  # drawn evenly by its logarithm
    step: float | None = None  # between neighbours, from `low` on

    @property
    def whole(self) -> bool:
        return all(type(number) is int for number in (self.low, self.high, self.step or 1))

    @property
    def samples(self) -> tuple:
        return self.low, self.high


Range = Choices | Span


@dataclass(frozen=True, kw_only=True)
class Tune:
    """A search over a recipe."""

    trials: int = 20  # in all, whoever carries them out
    cost: str | None = None  # what is to be low, beside a high main metric on val: "multiply_adds", "int8_latency"
    seed: int = 0  # of what is tried; that of training is the schedule's
    schedule: dict = field(default_factory=dict)  # key of [schedule] -> a list of values, or low, high, log, step
    model: dict = field(default_factory=dict)  # column of the network's row -> likewise

    def __post_init__(self):
        if not 1 <= self.trials <= MOST_TRIALS:
            raise RecipeError(f"[tune] trials lies between 1 and {MOST_TRIALS:,}, received {self.trials}")
        if not 0 <= self.seed < 2**31:
            raise RecipeError(f"[tune] seed lies between 0 and {2**31 - 1}, received {self.seed}")
        if self.cost is not None and self.cost not in COSTS:
            raise unknown("cost of [tune]", self.cost, COSTS, RecipeError)
        if "name" in self.model:
            raise RecipeError("[tune.model] has columns of one network's row; its name is that of [model]")
        if not self.ranges():
            raise RecipeError("[tune] needs ranges: [tune.schedule] or [tune.model] with, say, lr = [0.01, 0.1]")

    def ranges(self) -> dict[tuple[str, str], Range]:
        """(table, key) -> its range."""
        tables = {"schedule": self.schedule, "model": self.model}
        return {
            (table, key): range_of(value, f"[tune.{table}] {key}")
            for table, found in tables.items()
            for key, value in found.items()
        }


def range_of(value, where: str) -> Range:
    """A range as TOML has it: a list of values, or a table with low and high. Raises RecipeError."""
    if isinstance(value, tuple):
        if len(value) < 2 or any(value.count(one) > 1 for one in value):
            raise RecipeError(f"{where} is a choice of two or more different values, received {list(value)!r}")
        return Choices(value)
    if not isinstance(value, Mapping):
        raise RecipeError(f"{where} is a list of values, or a table with low and high, received {value!r}")
    for name in value:
        if name not in Span.__dataclass_fields__:
            raise unknown(f"key of {where}", name, Span.__dataclass_fields__, RecipeError)
    numbers = {name: value.get(name) for name in ("low", "high", "step") if name != "step" or name in value}
    for name, number in numbers.items():
        if type(number) not in (int, float) or not math.isfinite(number):
            raise RecipeError(f"{where} needs low and high, and {name} is a number, received {number!r}")
    span = Span(**value)
    if type(span.log) is not bool:
        raise RecipeError(f"{where}: log is true or false, received {span.log!r}")
    if span.low >= span.high:
        raise RecipeError(f"{where}: low lies below high, received {span.low} and {span.high}")
    if span.log and span.low <= 0:
        raise RecipeError(f"{where}: low lies above 0 where log is true, received {span.low}")
    if span.step is not None and (span.log or not 0 < span.step <= span.high - span.low):
        raise RecipeError(f"{where}: step lies above 0 and at most at high - low, without log, received {span.step}")
    if span.step and (Decimal(str(span.high)) - Decimal(str(span.low))) % Decimal(str(span.step)):
        raise RecipeError(f"{where}: from low to high there are whole steps, received {span.low}, {span.high} and a "
                          f"step of {span.step}")  # fmt: skip
    return span
