"""What can be asked of a model: named tensors in and out, and whether a request keeps to them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from cnn_app.inputs import by_encoded
from cnn_app.serving.server.errors import invalid
from cnn_app.tensors import Spec, name_of

if TYPE_CHECKING:
    from cnn_app.tensors import Arrays

PREDICT = "tensorflow/serving/predict"


@dataclass(frozen=True)
class Signature:
    name: str
    inputs: dict[str, Spec]
    outputs: dict[str, Spec]
    method: str = PREDICT

    @cached_property
    def batched(self) -> bool:
        """Whether requests can be put together: every tensor has a row for each record."""
        return all(spec.batched for spec in (*self.inputs.values(), *self.outputs.values()))

    @cached_property
    def of_strings(self) -> bool:
        """Whether one tensor of strings is all it takes, as encoded records come."""
        return [spec.dtype for spec in self.inputs.values()] == ["string"]

    @cached_property
    def records(self):
        """The class of the input whose encoded records it takes, by its own name or that of its tensor, if any."""
        return by_encoded(self.name) or by_encoded(next(iter(self.inputs))) if self.of_strings else None

    def keys(self, given) -> None:
        """Refuse wrong names of inputs."""
        missing, extra = sorted(set(self.inputs) - set(given)), sorted(set(given) - set(self.inputs))
        if missing or extra:
            wrong = " and ".join(
                [f"lacks {', '.join(missing)}"] * bool(missing)
                + [f"has the unknown {', '.join(extra)[:200]}"] * bool(extra)
            )
            raise invalid(
                f"signature {self.name}: the request {wrong}; keys must be equal to: {', '.join(self.inputs)}"
            )

    def fits(self, name: str, shape: tuple[int, ...], most: int) -> None:
        """Refuse a shape that input `name` does not take, or more than `most` rows."""
        spec = self.inputs[name]
        if not spec.fits(shape):
            raise invalid(f"input {name} has shape {shape}; expected {spec}")
        rows = shape[0] if spec.batched else 1
        if not 1 <= rows <= most:
            raise invalid(f"the request has {rows:,} rows; from 1 to {most:,} are allowed (--max-rows)")

    def check(self, inputs: Arrays, most: int) -> int:
        """The number of rows of a request that fits; `most` are allowed."""
        self.keys(inputs)
        for name, spec in self.inputs.items():
            array = inputs[name]
            found = name_of(array.dtype)
            if found != spec.dtype:
                raise invalid(f"input {name} is {found}, not of expected type: {spec.dtype}")
            self.fits(name, array.shape, most)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise invalid(f"input {name} holds NaN or infinity; finite numbers of type {spec.dtype} are expected")
        counts = {len(inputs[name]) for name, spec in self.inputs.items() if spec.batched}
        if len(counts) > 1:
            raise invalid(f"signature {self.name}: inputs {', '.join(self.inputs)} differ in their number of rows")
        return counts.pop() if counts else 1
