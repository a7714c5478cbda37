"""What can be asked of a model: named tensors in and out, and whether a request keeps to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cnn_app.serving.server.errors import invalid
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    from cnn_app.tensors import Arrays

PREDICT = "tensorflow/serving/predict"


@dataclass(frozen=True)
class Signature:
    name: str
    inputs: dict[str, Spec]
    outputs: dict[str, Spec]
    method: str = PREDICT

    @property
    def batched(self) -> bool:
        """Whether requests can be put together: every tensor has a row for each record."""
        return all(spec.batched for spec in (*self.inputs.values(), *self.outputs.values()))

    @property
    def of_strings(self) -> bool:
        """Whether one tensor of strings is all it takes, as encoded records come."""
        return [spec.dtype for spec in self.inputs.values()] == ["string"]

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

    def check(self, inputs: Arrays, most: int) -> int:
        """The number of rows of a request that fits; `most` are allowed."""
        self.keys(inputs)
        for name, spec in self.inputs.items():
            array = inputs[name]
            found = "string" if array.dtype.kind in "OSU" else array.dtype.name
            if found != spec.dtype:
                raise invalid(f"input {name} is {found}, not of expected type: {spec.dtype}")
            if not spec.fits(array.shape):
                raise invalid(f"input {name} has shape {array.shape}; expected {spec}")
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise invalid(f"input {name} holds NaN or infinity; finite numbers of type {spec.dtype} are expected")
        counts = {len(inputs[name]) for name, spec in self.inputs.items() if spec.batched}
        rows = counts.pop() if counts else 1
        if counts:
            raise invalid(f"signature {self.name}: inputs {', '.join(self.inputs)} differ in their number of rows")
        if not 1 <= rows <= most:
            raise invalid(f"the request has {rows} rows; from 1 to {most} are allowed")
        return rows
