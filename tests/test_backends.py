"""The builders are pure Keras: on JAX the same weights give the same logits."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

import cnn_app
from cnn_app import registry

NETWORKS = {
    "shufflenet_v1": {"scale": 0.5},
    "resnext50_32x4d": {"depths": (1, 1, 1, 1)},
    "mobilenet_v2": {"width": 0.35},
    "unet": {"width": 4, "padding": "same", "up": "upconv"},
    "text_cnn_multichannel": {"words": 99, "width": 20},
    "window_tagger_pos": {"words": 99, "suffixes": 99},
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
    image = {"image": (64, 64, 3)} if registry.spec(name).input == "image" else {}
    model = cnn_app.create_model(name, classes=5, **image, **NETWORKS[name])
    values = np.random.default_rng(0).integers(0, 256 if image else 5, (2, *model.input_shape[1:]))
    values = values.astype(np.uint8 if image else np.int32)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "inputs.npy", values)
    files = [str(tmp_path / file) for file in ("model.keras", "logits.npy", "inputs.npy")]
    subprocess.run([sys.executable, "-c", SCRIPT, *files], check=True, env=os.environ | {"KERAS_BACKEND": "jax"})
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), model.predict_on_batch(values), atol=1e-4)
