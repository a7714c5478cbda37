"""SavedModel directories, through the signature that TF Serving calls."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cnn_app.errors import ArtifactError
from cnn_app.names import DEFAULT as SIGNATURE

BATCH = 64


class SavedModelRuntime:
    def __init__(self, loaded):
        self._keep = loaded  # its variables live as long as it does
        self.serve = loaded.signatures[SIGNATURE]
        self.image = tuple(self.serve.structured_input_signature[1]["image"].shape[1:])

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        parts = (self.serve(image=self._tensor(pixels[i : i + BATCH])) for i in range(0, len(pixels), BATCH))
        return np.concatenate([part["probabilities"].numpy() for part in parts])

    @staticmethod
    def _tensor(pixels):
        import tensorflow as tf

        return tf.constant(pixels)


def open_model(path: Path, threads: int | None = None) -> SavedModelRuntime:
    """threads are TensorFlow's own and set for the whole process; see runtimes.latency."""
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ArtifactError(f"cannot load the SavedModel in {path}: {str(error).splitlines()[0][:200]}") from error
    if SIGNATURE not in loaded.signatures or "image" not in loaded.signatures[SIGNATURE].structured_input_signature[1]:
        raise ArtifactError(f"the SavedModel in {path} has no {SIGNATURE} signature that takes an image")
    return SavedModelRuntime(loaded)
