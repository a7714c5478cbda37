"""The first requests of a version, before anybody waits for them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from cnn_app.serving.server import protos
from cnn_app.serving.server.engines import Engine
from cnn_app.serving.server.signatures import DEFAULT, IMAGES

RECORDS = Path("assets.extra", "tf_serving_warmup_requests")
MOST = 1000  # records that are replayed, as in TF Serving


def warm(engine: Engine, path: Path) -> None:
    """Replay the requests that came with a version; black images where none did."""
    file = path / RECORDS
    for signature, inputs in protos.logged(file, MOST) if file.is_file() else ():
        if signature in engine.signatures:
            engine.run(signature, inputs)
    images = engine.signatures.get(IMAGES)
    if images and len(images.inputs) == 1:
        engine.run(IMAGES, dict.fromkeys(images.inputs, np.array([_image()], object)))
    default = engine.signatures.get(DEFAULT)
    if default is None or any(spec.dtype == "string" or spec.shape is None for spec in default.inputs.values()):
        return
    engine.run(DEFAULT, {name: np.zeros([side or 1 for side in spec.shape or ()], spec.dtype)
                         for name, spec in default.inputs.items()})  # fmt: skip


def _image() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG")
    return out.getvalue()
