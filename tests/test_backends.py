"""The builders are pure Keras: on JAX the same weights give the same logits."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

import cnn_app

NETWORKS = {
    "shufflenet_v1": {"scale": 0.5},
    "resnext50_32x4d": {"depths": (1, 1, 1, 1)},
    "mobilenet_v2": {"width": 0.35},
}
SCRIPT = """
import sys, keras, numpy as np, cnn_app
assert keras.backend.backend() == "jax"
model = cnn_app.load_model(sys.argv[1])
np.save(sys.argv[2], np.asarray(model.predict_on_batch(np.load(sys.argv[3]))))
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs the extra [jax]")
@pytest.mark.parametrize("name", NETWORKS)
def test_jax_gives_the_same_logits(name, tmp_path):
    model = cnn_app.create_model(name, image=(64, 64, 3), classes=5, **NETWORKS[name])
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "pixels.npy", pixels)
    files = [str(tmp_path / file) for file in ("model.keras", "logits.npy", "pixels.npy")]
    subprocess.run([sys.executable, "-c", SCRIPT, *files], check=True, env=os.environ | {"KERAS_BACKEND": "jax"})
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), model.predict_on_batch(pixels), atol=1e-4)
