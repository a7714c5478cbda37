"""An installation that only asks: `pip install cnn-app`, without TensorFlow and what training brings."""

import io
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from photos import exif as exif_of
from photos import with_exif
from PIL import Image

from cnn_app.analysis import listing
from cnn_app.errors import DataError
from cnn_app.inputs import pillow_pixels, pixels
from cnn_app.inputs.image import Image as Input

ROOT = Path(__file__).parents[1]
STORE = ROOT / "tests" / "compat" / "store" / "shapes"
SHAPES, PICTURE = STORE / "mobile" / "shapes-int8.tflite", ROOT / "tests" / "compat" / "picture.png"
BROUGHT = ("h5py", "jax", "keras", "matplotlib", "onnx", "onnxruntime", "sacrebleu", "safetensors", "scipy", "sklearn",
           "tensorflow", "tensorflow_datasets", "tf2onnx")  # fmt: skip
MOST_BYTES = 200e6
NO_TENSORFLOW = "tensorflow is not installed; pip install 'cnn-app[train]'"


@pytest.fixture
def light(tmp_path):
    """Runs commands where nothing of these can be imported, by children neither."""
    (tmp_path / "sitecustomize.py").write_text(f"import sys; sys.modules |= dict.fromkeys({BROUGHT})")
    paths = os.pathsep.join(map(str, (tmp_path, ROOT)))

    def run(*words):
        command = [sys.executable, "-m", "cnn_app", *map(str, words)]
        return subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)

    return run


def test_a_file_answers_without_tensorflow_and_keras(light):
    done = light("predict", SHAPES, PICTURE, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    (answer,) = json.loads(done.stdout)
    assert answer["top"][0]["label"] == "star" and answer["top"][0]["probability"] == pytest.approx(0.678, abs=0.01)


def test_golden_answers_and_networks_are_told_without_them(light):
    done = light("verify", SHAPES, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)[0]["passed"], done.stderr
    done = light("models", "resnet2*", "--json")
    assert [row["name"] for row in json.loads(done.stdout)] == ["resnet20"], done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("train", "lenet5", "--data", "digits", "--out", "x"), NO_TENSORFLOW),
        (("predict", STORE, PICTURE), "keras is not installed; pip install 'cnn-app[train]'"),
        (("inspect", "resnet18"), "keras is not installed; pip install 'cnn-app[train]'"),
        (("predict", "x.onnx", PICTURE), "x.onnx is ONNX, which needs: pip install 'cnn-app[onnx]'"),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_what_is_missing_is_told_in_one_line(light, tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    Path("x.onnx").write_bytes(b"")
    done = light(*words)
    assert (done.returncode, done.stderr) == (1, f"Error: {told}\n")


def encoded(mode, size, kind, **options):
    channels = len(Image.new(mode, (1, 1)).getbands())
    noise = np.random.default_rng(size[0]).integers(0, 256, (size[1], size[0], channels), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise.squeeze()).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


PICTURES = {
    "jpeg": encoded("RGB", (90, 61), "JPEG", quality=90),
    "turned": with_exif(encoded("RGB", (90, 61), "JPEG"), exif_of(6)),
    "grey jpeg": encoded("L", (50, 70), "JPEG"),
    "progressive": encoded("RGB", (45, 64), "JPEG", progressive=True),
    "png": encoded("RGB", (31, 47), "PNG"),
    "see-through": encoded("RGBA", (40, 40), "PNG"),
    "grey see-through": encoded("LA", (40, 33), "PNG"),
    "palette": encoded("P", (64, 40), "PNG"),
    "bmp": encoded("RGB", (33, 40), "BMP"),
    "gif": encoded("P", (40, 36), "GIF"),
    "webp": encoded("RGB", (64, 48), "WEBP", lossless=True),
}


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize(
    "taken", [Input((32, 24, 3)), Input((32, 32, 3), "crop"), Input((24, 40, 3), "pad"), Input((80, 96, 1))], ids=str
)
def test_pixels_are_those_of_tensorflow(kind, taken):
    """Few sums that lie at a half are rounded otherwise, and then by one."""
    wanted, found = (module.load(PICTURES[kind], kind, taken).astype(int) for module in (pixels, pillow_pixels))
    assert found.shape == taken.shape and abs(found - wanted).max() <= 1
    assert (found != wanted).mean() < 0.03


def test_sixteen_bits_and_damage():
    deep = np.random.default_rng(0).integers(0, 2**16, (40, 30), np.uint16)
    stream = io.BytesIO()
    Image.fromarray(deep).save(stream, "PNG")
    one, two = (module.load(stream.getvalue(), "x", Input((40, 30, 1))) for module in (pixels, pillow_pixels))
    np.testing.assert_array_equal(one, two)
    for data, reason in ((PICTURES["png"][:300], "the image is damaged or cut off"), (b"", "the file is empty")):
        with pytest.raises(DataError, match=f"cannot read x: {reason}"):
            pillow_pixels.load(data, "x", Input((8, 8, 3)))


def test_an_unknown_network_is_named():
    with pytest.raises(Exception, match="no model named 'resnet5*'; did you mean"):
        listing.listing("resnet5")


@pytest.mark.slow
def test_the_light_installation_is_small_and_answers(tmp_path):
    """What `pip install cnn-app` puts into an empty environment, without pip itself."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    done = subprocess.run([python, "-m", "pip", "install", "--quiet", str(ROOT)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    files = [file for file in packages.rglob("*") if file.is_file()]
    assert not (packages / "tensorflow").exists() and not (packages / "keras").exists()
    parts = [file.relative_to(packages).parts[0] for file in files]
    size = sum(
        file.stat().st_size
        for file, part in zip(files, parts, strict=True)
        if not part.startswith(("pip", "setuptools"))
    )
    assert size < MOST_BYTES
    told = subprocess.run([python, "-m", "cnn_app", "predict", SHAPES, PICTURE, "--top", "1"], capture_output=True,
                          text=True, cwd=tmp_path)  # fmt: skip
    assert told.stdout == f"{PICTURE}: star 0.678\n", told.stderr
