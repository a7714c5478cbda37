"""The first requests of a version, before anybody waits for them."""

from __future__ import annotations

import time
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnn_app.names import DEFAULT
from cnn_app.serving import store
from cnn_app.serving.server.engines import Engine

if TYPE_CHECKING:
    from cnn_app.tensors import Arrays

TIMES = 3  # that a record is run to time it
MOST = 1000  # records that are replayed, as in TF Serving


def warm(engine: Engine, path: Path) -> None:
    """Replay the requests that came with a version, then ask the encoded signatures and the default once."""
    if (file := path / store.WARMUP).is_file():
        from cnn_app.serving.server import protos

        for signature, inputs in protos.logged(file, MOST):
            if signature in engine.signatures:
                engine.run(signature, inputs)
    for name, known in engine.signatures.items():
        if kind := known.records:
            engine.run(name, dict.fromkeys(known.inputs, np.array([kind.example()], object)))
    if inputs := _of_one(engine):
        engine.run(DEFAULT, inputs)


def seconds_of_one(engine: Engine) -> float:
    """Of a record by the default signature, at best; endless where that takes none that can be made up."""
    inputs, found = _of_one(engine), [inf]
    for _ in range(TIMES if inputs else 0):
        start = time.perf_counter()
        engine.run(DEFAULT, inputs)
        found.append(time.perf_counter() - start)
    return min(found)


def _of_one(engine: Engine) -> Arrays:
    default = engine.signatures.get(DEFAULT)
    if default is None or any(spec.dtype == "string" or spec.shape is None for spec in default.inputs.values()):
        return {}
    return {name: np.zeros([side or 1 for side in spec.shape or ()], spec.dtype)
            for name, spec in default.inputs.items()}  # fmt: skip
