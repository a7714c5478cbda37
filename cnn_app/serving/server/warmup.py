"""The first requests of a version, before anybody waits for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cnn_app.inputs import by_encoded
from cnn_app.names import DEFAULT
from cnn_app.serving import store
from cnn_app.serving.server import protos
from cnn_app.serving.server.engines import Engine

MOST = 1000  # records that are replayed, as in TF Serving


def warm(engine: Engine, path: Path) -> None:
    """Replay the requests that came with a version, then ask the encoded signatures and the default once."""
    file = path / store.WARMUP
    for signature, inputs in protos.logged(file, MOST) if file.is_file() else ():
        if signature in engine.signatures:
            engine.run(signature, inputs)
    for name, known in engine.signatures.items():
        kind = by_encoded(name)
        if kind and known.of_strings:
            engine.run(name, dict.fromkeys(known.inputs, np.array([kind.example()], object)))
    default = engine.signatures.get(DEFAULT)
    if default is None or any(spec.dtype == "string" or spec.shape is None for spec in default.inputs.values()):
        return
    engine.run(DEFAULT, {name: np.zeros([side or 1 for side in spec.shape or ()], spec.dtype)
                         for name, spec in default.inputs.items()})  # fmt: skip
