"""What is measured of an agent: the returns of episodes, each the sum of its rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_app.errors import ModelError
from cnn_app.tasks.drawing import picture, save
from cnn_app.tasks.mistakes import Mistake

QUARTILES = ("least", "lower quartile", "median", "upper quartile", "most")


@dataclass(frozen=True)
class Report:
    """Of n episodes, arrays (n,)."""

    returns: np.ndarray
    lengths: np.ndarray  # steps

    @property
    def n(self) -> int:
        return len(self.returns)

    @property
    def metrics(self) -> dict:
        mean = float(self.returns.mean())
        return {"return": mean, "length": float(self.lengths.mean()), "loss": -mean, "n": self.n}

    def tables(self) -> list[tuple[list[str], list[tuple]]]:
        shown = [("return", self.returns), ("length", self.lengths)]
        rows = [
            (name, *(f"{value:g}" for value in np.quantile(values, np.linspace(0, 1, 5)))) for name, values in shown
        ]
        return [(["of an episode", *(f">{name}" for name in QUARTILES)], rows)]

    def as_json(self) -> dict:
        return self.metrics | {"returns": list(map(float, self.returns)), "lengths": list(map(int, self.lengths))}

    def draw(self, path: Path) -> None:
        """Returns as bars."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        axes.hist(self.returns, bins=min(20, max(1, len(np.unique(self.returns)))), color="#4477aa")
        axes.axvline(self.returns.mean(), color="#cc6677", label=f"mean {self.returns.mean():.2f}")
        axes.set(xlabel="return: sum of rewards", ylabel="episodes", title=f"Returns of {self.n:,} episodes")
        axes.legend()
        save(figure, path)

    def mistakes(self, most: int) -> list[Mistake]:
        raise ModelError("an action is not right or wrong by itself; `cnn-app play` films what an agent does")


def draw_values(labels: Sequence[str], values: np.ndarray, frame: np.ndarray | None, name: str, path: Path) -> None:
    """The values of actions (n,) as bars into a PNG, beside the newest frame (h, w, 1) where there is one."""
    from matplotlib.figure import Figure

    figure = Figure((8.5, 3.6), layout="constrained")
    figure.suptitle(f"{name}: the value of each action")
    axes = figure.subplots(1, 2 if frame is not None else 1, squeeze=False)[0]
    if frame is not None:
        picture(axes[0], frame)
    bars = axes[-1].barh(labels, values, color=["#cc6677" if place == values.argmax() else "#4477aa"
                                                for place in range(len(values))])  # fmt: skip
    axes[-1].bar_label(bars, fmt="{:.3g}", padding=3)
    axes[-1].margins(x=0.15)
    axes[-1].set(xlabel="discounted sum of rewards")
    axes[-1].invert_yaxis()
    save(figure, path)
