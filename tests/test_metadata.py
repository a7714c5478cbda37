"""What files say of themselves, read by others: MediaPipe's classifier, ONNX Runtime, zip."""

import json
import zipfile
from importlib import import_module

import numpy as np
import onnxruntime
import pytest

import cnn_app
from cnn_app.errors import ExportError
from cnn_app.export import graph, metadata
from cnn_app.export.metadata import About
from cnn_app.export.targets import TARGETS, target
from cnn_app.runtimes import open_model

ABOUT = About(
    name="flowers", description="mobilenet_v2", labels=("daisy", "Löwenzahn", "rose", "sunflower", "tulip"),
    image=(64, 64, 3), author="The gardeners", license="Apache-2.0", version="3", data_sha256="d", model_sha256="m",
)  # fmt: skip


@pytest.fixture(scope="module")
def network():
    """A network whose batch normalization has seen images, and images."""
    model = cnn_app.create_model("mobilenet_v2", width=0.35, image=(64, 64, 3), classes=5)
    pixels = np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3)).astype(np.uint8)
    for _ in range(20):
        model(pixels, training=True)
    return graph.deployable(model), pixels


def written(network, kind, path):
    model, pixels = network
    import_module(f"cnn_app.export.{target(kind).module}").write(model, path, target(kind), pixels)
    return open_model(path).predict(pixels)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=() if kind == "tflite-int8" else pytest.mark.slow)
        for kind in TARGETS
        if target(kind).module == "tflite"
    ],
)
def test_mediapipe_shows_the_labels_and_gives_the_same_scores(network, tmp_path, kind):
    """The code that Android and iOS run, on every image, to the bit; and the file's own zip."""
    mediapipe = pytest.importorskip("mediapipe", exc_type=ImportError)
    path, pixels = tmp_path / "flowers.tflite", network[1]
    before = written(network, kind, path)
    assert metadata.attach(path, ABOUT)
    np.testing.assert_array_equal(open_model(path).predict(pixels), before)
    base = mediapipe.tasks.BaseOptions(model_asset_path=str(path))
    vision = mediapipe.tasks.vision
    options = vision.ImageClassifierOptions(base_options=base, max_results=5)
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for image, expected in zip(pixels, before, strict=True):
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)
            found = {c.category_name: c.score for c in classifier.classify(image).classifications[0].categories}
            assert list(found.values()) == sorted(found.values(), reverse=True)
            np.testing.assert_allclose([found[label] for label in ABOUT.labels], expected, atol=1e-6)
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().splitlines() == list(ABOUT.labels)
        assert json.loads(archive.read("model.json"))["license"] == "Apache-2.0"


def test_onnx_and_saved_models_say_the_same(network, tmp_path):
    path, pixels = tmp_path / "flowers.onnx", network[1]
    before = written(network, "onnx", path)
    assert metadata.attach(path, ABOUT)
    properties = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).get_modelmeta().custom_metadata_map
    )
    assert json.loads(properties["labels"]) == list(ABOUT.labels) and properties["author"] == "The gardeners"
    np.testing.assert_array_equal(open_model(path).predict(pixels), before)
    directory = tmp_path / "1"
    before = written(network, "saved_model", directory)
    assert metadata.attach(directory, ABOUT)
    assert (directory / "assets" / "labels.txt").read_text(encoding="utf-8").splitlines() == list(ABOUT.labels)
    assert json.loads((directory / "assets" / "model.json").read_text())["model_sha256"] == "m"
    np.testing.assert_array_equal(open_model(directory).predict(pixels), before)


def test_what_cannot_be_said(network, tmp_path, monkeypatch):
    with pytest.raises(ExportError, match="line break"):
        metadata.attach(tmp_path, About(name="x", description="", labels=("a\nb",), image=(1, 1, 3)))
    path = tmp_path / "flowers.tflite"
    path.write_bytes(b"TFL3")
    monkeypatch.setattr(metadata, "_schema", lambda: None)
    assert not metadata.attach(path, ABOUT) and path.read_bytes() == b"TFL3"
