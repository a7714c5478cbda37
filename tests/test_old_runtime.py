"""Every file for phones in an environment of its own: tflite-runtime 2.14 and NumPy 1, nothing else."""

import subprocess
import sys
import venv

import numpy as np
import pytest
from scores import keras_scores, write

import cnn_app
from cnn_app.export import golden, graph
from cnn_app.export.targets import TARGETS

pytestmark = pytest.mark.slow
PHONES = {
    "mobilenet_v1": {"width": 0.25},
    "mobilenet_v2": {"width": 0.35},
    "shufflenet_v1": {"scale": 0.5},
    "shufflenet_v2": {"scale": 0.5},
    "resnet20": {},
    "lenet5": {},
}


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The environment's Python."""
    if sys.version_info >= (3, 12):
        pytest.skip("tflite-runtime 2.14 has no wheel for this Python")
    root = tmp_path_factory.mktemp("bare")
    venv.create(root, with_pip=True)
    python = root / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "tflite-runtime==2.14.0", "numpy<2"]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"tflite-runtime cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    return python


@pytest.mark.parametrize("name", PHONES)
def test_the_old_interpreter_gives_the_golden_answers(bare, tmp_path, name):
    size = 32 if name in ("resnet20", "lenet5") else 64
    model = cnn_app.create_model(name, classes=5, image=(size, size, 3), **PHONES[name])
    pixels = np.random.default_rng(1).integers(0, 256, (16, size, size, 3)).astype(np.uint8)
    for _ in range(20):  # batch normalization that has seen images
        model(pixels, training=True)
    copy, reference, files = graph.deployable(model), keras_scores(model, pixels), []
    for kind, target in TARGETS.items():
        if target.module == "tflite":
            files.append(tmp_path / f"{kind}.tflite")
            write(kind, copy, files[-1], pixels)
            golden.write(files[-1], golden.answers(files[-1], target, {"image": pixels}, {"probabilities": reference}))
    done = subprocess.run([bare, tmp_path / "selftest.py", *files], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len(files) == 5 and all(line.endswith("passed") for line in lines), done.stdout + done.stderr
