"""Named tensors: what goes into and comes out of anything that answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Arrays = dict[str, "np.ndarray"]


@cache
def name_of(dtype: np.dtype) -> str:
    """As a Spec has it; NumPy makes up the name of a type each time."""
    return "string" if dtype.kind in "OSU" else dtype.name


@dataclass(frozen=True)
class Spec:
    """dtype: NumPy's name, or `string`. shape: None for a side that may vary; no shape at all where it is unknown."""

    dtype: str
    shape: tuple[int | None, ...] | None
    tensor: str = ""  # its name in the graph, where that is another

    def __str__(self) -> str:
        sides = (
            "any shape" if self.shape is None else f"({', '.join('n' if s is None else str(s) for s in self.shape)})"
        )
        return f"{self.dtype} {sides}"

    @property
    def batched(self) -> bool:
        """Whether its first axis is that of the records."""
        return self.shape is not None and self.shape[:1] == (None,)

    def fits(self, shape: tuple[int, ...]) -> bool:
        return self.shape is None or (
            len(shape) == len(self.shape)
            and all(side in (None, given) for side, given in zip(self.shape, shape, strict=True))
        )
