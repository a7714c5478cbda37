"""What files say of themselves, read by others: MediaPipe's classifier, ONNX Runtime, zip."""

import json
import zipfile
from dataclasses import replace

import keras
import numpy as np
import onnxruntime
import pytest
from scores import scores, write

import cnn_app
from cnn_app.errors import ArtifactError, ExportError
from cnn_app.export import graph, metadata, tflite
from cnn_app.export.targets import TARGETS, target
from cnn_app.inputs.audio import Audio
from cnn_app.inputs.image import Image
from cnn_app.runtimes import keras_model, open_model
from cnn_app.runtimes.about import About
from cnn_app.tasks.classification import Classification

ABOUT = About(
    task="classification", input=Image((64, 64, 3)).facts(), name="flowers", description="mobilenet_v2",
    labels=("daisy", "Löwenzahn", "rose", "sunflower", "tulip"),
    author="The gardeners", license="Apache-2.0", version="3", data_sha256="d", model_sha256="m",
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
    return scores(write(kind, model, path, pixels), pixels)


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
    np.testing.assert_array_equal(scores(open_model(path), pixels), before)
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


@pytest.mark.slow
def test_onnx_and_saved_models_say_the_same(network, tmp_path):
    path, pixels = tmp_path / "flowers.onnx", network[1]
    before = written(network, "onnx", path)
    assert metadata.attach(path, ABOUT)
    properties = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).get_modelmeta().custom_metadata_map
    )
    assert json.loads(properties["labels"]) == list(ABOUT.labels) and properties["author"] == "The gardeners"
    np.testing.assert_array_equal(scores(open_model(path), pixels), before)
    directory = tmp_path / "1"
    before = written(network, "saved_model", directory)
    assert metadata.attach(directory, ABOUT)
    assert (directory / "assets" / "labels.txt").read_text(encoding="utf-8").splitlines() == list(ABOUT.labels)
    assert json.loads((directory / "assets" / "model.json").read_text())["model_sha256"] == "m"
    np.testing.assert_array_equal(scores(open_model(directory), pixels), before)


@pytest.mark.parametrize(
    "kind", ["onnx", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("tflite-int8", "saved_model"))]
)
def test_every_format_says_all_of_it_without_mediapipe(network, tmp_path, monkeypatch, kind):
    """Its own readers need no schema: labels are there, whatever is installed, and phones' libraries are told of."""
    path = tmp_path / {"tflite-int8": "flowers.tflite", "onnx": "flowers.onnx", "saved_model": "1"}[kind]
    before = written(network, kind, path)
    assert open_model(path).about is None
    monkeypatch.setattr(metadata, "_schema", lambda: None)
    assert metadata.attach(path, ABOUT) == (kind != "tflite-int8")
    assert open_model(path).about == ABOUT
    np.testing.assert_array_equal(scores(open_model(path), network[1]), before)
    if kind == "tflite-int8":
        with zipfile.ZipFile(path) as archive:
            assert archive.read("labels.txt").decode().splitlines() == list(ABOUT.labels)


@pytest.mark.slow
def test_a_keras_file_says_it_in_the_metadata_that_keras_writes(network, tmp_path):
    """Keras unpacks an archive onto the disk if there are more files in it than its three."""
    path = tmp_path / "flowers.keras"
    keras_model.save(network[0], path, ABOUT)
    with zipfile.ZipFile(path) as archive:
        assert set(archive.namelist()) == {"metadata.json", "config.json", "model.weights.h5"}
        metadata_json = json.loads(archive.read("metadata.json"))
    assert set(metadata_json) == {"keras_version", "date_saved", "cnn_app"}
    assert open_model(path).about == ABOUT == cnn_app.load_model(path).about
    found = keras.saving.load_model(path).predict_on_batch(network[1])
    np.testing.assert_allclose(found, network[0].predict_on_batch(network[1]), atol=1e-6)
    keras_model.save(network[0], path)
    assert open_model(path).about is None


@pytest.mark.slow
def test_what_is_said_in_a_damaged_way_is_one_line(network, tmp_path):
    path = tmp_path / "flowers.tflite"
    written(network, "tflite-int8", path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model.json", '{"task": 3}')
    with pytest.raises(ArtifactError, match="says of itself is damaged: .*; export it again") as caught:
        open_model(path)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_said(tmp_path):
    with pytest.raises(ExportError, match="line break"):
        metadata.attach(tmp_path, replace(ABOUT, labels=("a\nb",)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind == "tflite-int8" else pytest.mark.slow)
             for kind in ("tflite-float32", "tflite-float16", "tflite-int8")],
)  # fmt: skip
def test_mediapipe_gives_the_same_masks(tmp_path, kind):
    """Its ImageSegmenter: labels, confidences and categories of a U-Net with bytes for input, to the bit."""
    mediapipe = pytest.importorskip("mediapipe", exc_type=ImportError)
    keras.utils.set_random_seed(0)
    model = cnn_app.create_model("unet", image=(32, 32, 3), width=4, depth=1, padding="same", classes=3)
    path, pixels = tmp_path / "unet.tflite", np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    write(kind, graph.deployable(model), path, pixels)
    assert metadata.attach(path, replace(ABOUT, task="segmentation", input=Image((32, 32, 3)).facts(),
                                         labels=("sky", "Straße", "car")))  # fmt: skip
    wanted = open_model(path).run({"image": pixels})["probabilities"]
    assert len(np.unique(wanted.argmax(-1))) > 1
    vision, base = mediapipe.tasks.vision, mediapipe.tasks.BaseOptions(model_asset_path=str(path))
    options = vision.ImageSegmenterOptions(base_options=base, output_category_mask=True, output_confidence_masks=True)
    with vision.ImageSegmenter.create_from_options(options) as segmenter:
        assert segmenter.labels == ["sky", "Straße", "car"]
        for image, expected in zip(pixels, wanted, strict=True):
            found = segmenter.segment(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image))
            shares = np.stack([mask.numpy_view().squeeze() for mask in found.confidence_masks], -1)
            np.testing.assert_allclose(shares, expected, atol=1e-6)
            np.testing.assert_array_equal(found.category_mask.numpy_view().squeeze(), expected.argmax(-1))


@pytest.mark.parametrize("kind", ["tflite-int8", pytest.param("tflite-float32", marks=pytest.mark.slow)])
def test_mediapipe_hears_the_same(tmp_path, kind):
    """Its AudioClassifier takes a wave of our rate and length: labels and scores."""
    mediapipe = pytest.importorskip("mediapipe", exc_type=ImportError)
    audio, containers = mediapipe.tasks.audio, mediapipe.tasks.components.containers
    keras.utils.set_random_seed(0)
    task = Classification(input=Audio(8000, 8000), labels=("eins", "zwei", "fünf"))
    model = graph.deployable(cnn_app.create_model("tdnn", classes=3))
    sizes = np.linspace(0.01, 0.5, 6)[:, None]
    waves = np.clip(np.random.default_rng(0).normal(size=(6, 8000)) * sizes, -1, 1).astype(np.float32)
    path = tmp_path / "digits.tflite"
    tflite.write(task, model, path, target(kind), {"audio": waves} if target(kind).calibrated else None)
    assert metadata.attach(path, replace(ABOUT, input=task.input.facts(), labels=task.labels))
    wanted = open_model(path).run({"audio": waves})["probabilities"]
    assert np.ptp(wanted, axis=0).min() > 1e-4
    base = mediapipe.tasks.BaseOptions(model_asset_path=str(path))
    options = audio.AudioClassifierOptions(base_options=base, max_results=3)
    with audio.AudioClassifier.create_from_options(options) as classifier:
        for wave, expected in zip(waves, wanted, strict=True):
            (heard,) = classifier.classify(containers.AudioData.create_from_array(wave, 8000))
            found = {one.category_name: one.score for one in heard.classifications[0].categories}
            np.testing.assert_allclose([found[label] for label in task.labels], expected, atol=1e-6)


def test_bytes_need_no_scaling():
    """A client that scaled them by another mean and standard deviation would get other answers."""
    schema = metadata._schema()
    if schema is None:
        pytest.skip("needs the extra mobile")
    image = Image((32, 32, 3)).tensor_metadata(schema)
    (unit,) = image.processUnits
    assert (unit.options.mean, unit.options.std) == ([0.0], [1.0]) and (image.stats.min, image.stats.max) == (
        [0],
        [255],
    )
