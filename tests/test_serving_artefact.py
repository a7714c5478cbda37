"""What `export --to saved_model` hands to TF Serving, asked as that would: by its loader, signatures and records."""

import sys
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest
import scores
import tensorflow as tf
from c_session import Session
from click.testing import CliRunner

import cnn_app
from cnn_app.architectures import googlenet
from cnn_app.artifacts import ModelDir
from cnn_app.cli.main import cli
from cnn_app.data import pipeline
from cnn_app.export import graph, metadata
from cnn_app.inputs import pixels as reading
from cnn_app.inputs.image import Image
from cnn_app.jobs import sources
from cnn_app.recipe import Schedule
from cnn_app.runtimes import open_model
from cnn_app.runtimes.about import About
from cnn_app.serving import store
from cnn_app.transfer.features import averaged, tapped

SMALL = {"image": (64, 64, 3)}
NETWORKS = {  # one with each kind of layer, then their siblings
    "shufflenet_v1": SMALL | {"scale": 0.5},  # shuffles, and grouped windows of 1x1
    "seresnext50_32x4d": SMALL | {"depths": (1, 1, 1, 1)},  # grouped windows of 3x3, squeeze and excitation
    "googlenet": SMALL | {"modules": googlenet.GOOGLENET[:3]},  # local response normalization, branches
    "lenet5": {},  # one channel, subsampling
    "neocognitron": {},
    "alexnet": {},
    "vgg11_bn": SMALL,
    "inception_bn": SMALL | {"modules": googlenet.INCEPTION_BN[1:4]},
    "resnet18": SMALL,
    "resnet20": {},
    "mobilenet_v1": SMALL | {"width": 0.25},
    "mobilenet_v2": SMALL | {"width": 0.35},
    "shufflenet_v2": SMALL | {"scale": 0.5},
}
FAST = ("googlenet", "lenet5")
LABELS = ("Gänseblümchen", "daisy", "rose", "tulip", "two words", "x", "y")


def lively(name):
    """A network whose answers differ from image to image."""
    keras.utils.set_random_seed(0)
    model = cnn_app.create_model(name, classes=len(LABELS), **NETWORKS[name])
    pixels = np.random.default_rng(1).integers(0, 256, (16, *model.input_shape[1:]))
    for _ in range(10):
        model(pixels, training=True)
    return model


def written(model, path):
    scores.write("saved_model", graph.deployable(model), path, None)
    image = model.input_shape[1:]
    metadata.attach(path, About(task="classification", input=Image(image).facts(), labels=LABELS))
    return np.random.default_rng(0).integers(0, 256, (3, *image)).astype(np.uint8)


def encoded(image):
    return tf.io.encode_png(image).numpy()


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in NETWORKS])
def test_the_loader_of_tf_serving_answers_as_keras_does(name, tmp_path):
    """Every signature, in a session of TensorFlow's C API, at two sizes of the batch."""
    model = lively(name)
    pixels = written(model, tmp_path / "1")
    assert b"_XlaMustCompile" not in (tmp_path / "1" / "saved_model.pb").read_bytes()
    expected = scores.keras_scores(model, pixels)
    session = Session(tmp_path / "1")
    for count in (3, 1):
        inputs = {
            "serving_default": {"image": pixels[:count]},
            "float_pixels": {"image": pixels[:count].astype(np.float32)},
            "image_bytes": {"image_bytes": [encoded(image) for image in pixels[:count]]},
        }
        for signature, given in inputs.items():
            answer = session.run(signature, **given)
            assert set(answer) == {"probabilities", "classes", "scores"}
            np.testing.assert_allclose(answer["probabilities"], expected[:count], atol=1e-5)
            best = np.argsort(-answer["probabilities"], axis=1, kind="stable")[:, :5]
            np.testing.assert_array_equal(answer["scores"], np.take_along_axis(answer["probabilities"], best, 1))
            assert [[LABELS[i].encode() for i in row] for row in best] == answer["classes"].tolist()
    features = session.run("features", image=pixels)["features"]
    np.testing.assert_allclose(features, averaged(np.asarray(tapped(model).predict_on_batch(pixels))), 1e-4, 1e-4)
    session.close()


def test_two_classes_have_two_scores(tmp_path):
    """And labels that nobody wrote are numbers."""
    model = cnn_app.create_model("perceptron")
    scores.write("saved_model", graph.deployable(model), tmp_path / "1", None)
    session = Session(tmp_path / "1")
    answer = session.run("serving_default", image=np.zeros((2, 32, 32, 1), np.uint8))
    assert answer["scores"].shape == (2, 2) and set(answer["classes"].ravel()) == {b"0", b"1"}
    session.close()


@pytest.mark.parametrize("name", ["lenet5", "resnet20"])
def test_encoded_images_are_seen_as_predict_sees_them(name, tmp_path):
    """Colour, grey, see-through and damaged ones, of any size, in networks of one and of three channels."""
    written(lively(name), tmp_path / "1")
    random = np.random.default_rng(0)
    files = []
    for suffix, mode, size in (
        ("jpg", "RGB", (50, 40)), ("jpg", "L", (20, 70)), ("png", "RGB", (33, 9)), ("png", "L", (200, 100)),
        ("png", "RGBA", (61, 47)), ("png", "LA", (32, 32)), ("bmp", "RGB", (30, 50)), ("gif", "P", (40, 45)),
    ):  # fmt: skip
        files.append(tmp_path / f"{mode}.{suffix}")
        pixels = random.integers(0, 256, (*size[::-1], len(mode)), dtype=np.uint8)
        PIL.Image.fromarray(pixels.squeeze(-1) if len(mode) == 1 else pixels, None if mode == "P" else mode).save(
            files[-1]
        )
    named = [(str(file), file.read_bytes()) for file in files]
    served = open_model(tmp_path / "1")._keep.signatures["image_bytes"]
    answer = served(image_bytes=tf.constant([data for _, data in named]))
    runtime = open_model(tmp_path / "1")
    size = Image(runtime.inputs["image"].shape[1:])
    expected = [scores.scores(runtime, reading.load(data, name, size)[None])[0] for name, data in named]
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-6)
    answers = zip(answer["classes"].numpy(), answer["scores"].numpy(), strict=True)
    for (labels, best), found in zip(answers, cnn_app.predict(tmp_path / "1", map(str, files)), strict=True):
        assert [label.decode() for label in labels] == [row["label"] for row in found.answer["top"]]
        np.testing.assert_allclose(best, [row["probability"] for row in found.answer["top"]], atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError):
        served(image_bytes=tf.constant([named[0][1], b"nothing"]))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = ModelDir(tmp_path_factory.mktemp("store") / "digits")
    cnn_app.train("lenet5", "digits", directory.path, schedule=Schedule(epochs=1, batch=32, lr=0.003, augment=()))
    return directory


def records(path):
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    file = path / store.WARMUP
    return [PredictionLog.FromString(data) for data in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()]


@pytest.mark.slow
def test_warm_up_requests_are_real_and_run(trained):
    """Each as a server replays it; the images are held-out ones."""
    pytest.importorskip("tensorflow_serving")
    task, dataset = sources.for_model(trained, None)
    cnn_app.export(trained.path, ("saved_model",))
    session, seen = Session(trained.serving / "1"), []
    held_out = pipeline.sample(dataset.splits["test"], task.strata(dataset.splits["test"]), 1000)[0]["image"]
    for record in records(trained.serving / "1"):
        assert record.WhichOneof("log_type") == "predict_log"
        request = record.predict_log.request
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        name, value = inputs.popitem()
        answer = session.run(
            request.model_spec.signature_name, **{name: list(value) if value.dtype == object else value}
        )
        assert all(len(rows) == len(value) for rows in answer.values())
        if value.dtype == np.uint8:
            assert all((held_out == image).all((1, 2, 3)).any() for image in value)
        seen.append((request.model_spec.signature_name, len(value)))
    session.close()
    assert sorted(seen) == sorted((name, count) for name in session.signatures if not name.startswith("__")
                                  for count in (1, 8))  # fmt: skip
    assert trained.read_exports()[-1]["warmup"] is True


@pytest.mark.slow
def test_without_the_package_export_says_so_and_goes_on(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis.prediction_log_pb2", None)
    result = CliRunner().invoke(cli, ["export", str(trained.path), "--to", "saved_model"])
    assert result.exit_code == 0
    assert result.stderr.splitlines()[-1].endswith("pip install 'cnn-app[serve]' and export again")
    last = trained.read_exports()[-1]
    assert last["warmup"] is False and not (trained.path / last["path"] / store.WARMUP).exists()
    assert Path(trained.path / last["path"] / "assets.extra" / "golden.npz").is_file()
