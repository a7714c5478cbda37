"""The first requests of a version, before anybody waits for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cnn_app.serving import protos
from cnn_app.serving.engines import Engine
from cnn_app.serving.signatures import DEFAULT

RECORDS = Path("assets.extra", "tf_serving_warmup_requests")
MOST = 1000  # records that are replayed, as in TF Serving


def warm(engine: Engine, path: Path) -> None:
    """Replay the requests that came with a version; zeros where none did."""
    file = path / RECORDS
    for signature, inputs in protos.logged(file, MOST) if file.is_file() else ():
        if signature in engine.signatures:
            engine.run(signature, inputs)
    default = engine.signatures.get(DEFAULT)
    if default is None or any(spec.dtype == "string" or spec.shape is None for spec in default.inputs.values()):
        return
    engine.run(DEFAULT, {name: np.zeros([side or 1 for side in spec.shape or ()], spec.dtype)
                         for name, spec in default.inputs.items()})  # fmt: skip
