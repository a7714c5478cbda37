"""SavedModel, .tflite and .onnx of one network: each is served by its own runtime, and answers as `predict` does."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scores
import served
import tensorflow as tf
import urllib3

import cnn_app
from cnn_app.artifacts import Card, ModelDir
from cnn_app.errors import ServingError
from cnn_app.export import metadata
from cnn_app.export.graph import deployable
from cnn_app.export.targets import place
from cnn_app.inputs.image import Image
from cnn_app.names import DEFAULT
from cnn_app.runtimes import open_model
from cnn_app.runtimes.about import About
from cnn_app.serving import Client
from cnn_app.serving.server import engines
from cnn_app.serving.server.discovery import discover
from cnn_app.serving.server.signatures import Signature
from cnn_app.tensors import Spec

SIZE = (32, 32, 1)
DIGITS = tuple(f"digit {i}" for i in range(10))
KINDS = {"saved_model": "TensorFlow", "onnx": "ONNX Runtime", "tflite-int8": "LiteRT"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A model directory for each format."""
    root, random = tmp_path_factory.mktemp("store"), np.random.default_rng(0)
    model = cnn_app.create_model("lenet5")
    model.set_weights([random.normal(0, 0.2, weight.shape) for weight in model.get_weights()])
    copy, pixels = deployable(model), random.integers(0, 256, (8, *model.input_shape[1:])).astype(np.uint8)
    for name in KINDS:
        directory = ModelDir(root / name)
        taken = Image(model.input_shape[1:]).facts()
        directory.write_card(Card(architecture="lenet5", columns={}, labels=DIGITS, input=taken))
        path = place(directory, name)
        path.parent.mkdir(parents=True)
        scores.write(name, copy, path, pixels)
        metadata.attach(path, About(task="classification", input=taken, labels=DIGITS))
    return root


@pytest.mark.slow
def test_every_engine_answers_as_its_file_does(store, tmp_path):
    images = [served.png(one) for one in served.pixels(3, 20)]
    files = [tmp_path / f"{i}.png" for i in range(len(images))]
    for file, data in zip(files, images, strict=True):
        file.write_bytes(data)
    with served.running(store) as found, urllib3.PoolManager() as http:
        models = served.asked(http, "GET", f"{found.rest}/models.json")[1]
        assert {row["name"]: row["engine"] for row in models} == KINDS
        assert all(row["encoded"] == ["image_bytes"] for row in models)
        for name in KINDS:
            path = store / name / "serving" / "1" if name == "saved_model" else place(ModelDir(store / name), name)
            expected = [found.answer["top"] for found in cnn_app.predict(path, map(str, files))]
            pixels = np.random.default_rng(1).integers(0, 256, (9, *SIZE)).astype(np.uint8)
            with Client(f"{found.rest}/{name}") as client:
                for answer, row in zip(client.predict(images), expected, strict=True):
                    assert [one["label"] for one in answer.top()] == [one["label"] for one in row]
                    probabilities = [[one["probability"] for one in top] for top in (answer.top(), row)]
                    np.testing.assert_allclose(*probabilities, rtol=1e-4, atol=1e-6)
                answers = [answer.probabilities for answer in client.predict(list(pixels))]
            np.testing.assert_allclose(answers, scores.scores(open_model(path), pixels), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_several_threads_may_ask_an_engine(store, name):
    path = store / name / "serving" / "1" if name == "saved_model" else place(ModelDir(store / name), name)
    engine, runtime = engines.open_engine(path), open_model(path)
    asked = np.random.default_rng(2).integers(0, 256, (64, 1, *SIZE)).astype(np.uint8)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda pixels: engine.run("serving_default", {"image": pixels}), asked))
    engine.close()
    found = np.concatenate([answer["probabilities"] for answer in answers])
    np.testing.assert_allclose(found, scores.scores(runtime, asked[:, 0]), rtol=1e-4, atol=1e-6)


class Sums:
    """An engine of pairs of numbers."""

    kind = "test"
    signatures = {DEFAULT: Signature(DEFAULT, {"pair": Spec("int32", (None, 2))}, {"sum": Spec("int32", (None,))})}

    def run(self, signature, inputs):
        return {"sum": inputs["pair"].sum(1)}

    def close(self): ...


class Pairs:
    """A task of such pairs, encoded as 3+4; what it says of them takes the place of the sum."""

    encoded = "pairs"

    def __init__(self):
        self.input = self

    def decoder(self):
        return lambda data: {"pair": np.array(data.split(b"+"), np.int32)}

    def placed(self, outputs, records):
        return outputs

    def named(self, outputs):
        return {"parity": np.where(outputs["sum"] % 2, b"odd", b"even").astype(object)}

    def named_specs(self, outputs):
        return {"parity": Spec("string", outputs["sum"].shape)}


def test_any_task_gets_its_encoded_signature():
    sums = Sums()
    engine = engines.EncodedEngine(sums, engines.DefaultSignature(sums, None, None), Pairs())
    assert list(engine.signatures) == [DEFAULT, "pairs"] and engine.signatures["pairs"].batched
    assert engine.signatures["pairs"].inputs == {"pairs": Spec("string", (None,))}
    assert list(engine.signatures["pairs"].outputs) == ["parity"]
    answer = engine.run("pairs", {"pairs": np.array([b"3+4", b"1+1"], object)})
    assert answer.keys() == {"parity"} and answer["parity"].tolist() == [b"odd", b"even"]
    assert engine.run(DEFAULT, {"pair": np.array([[1, 2]])})["sum"].tolist() == [3]


def test_files_of_others_are_asked_by_our_names(tmp_path):
    """What says nothing of itself is told by its tensors; a SavedModel's own signatures stay as they are."""
    scores.write("tflite-float32", deployable(cnn_app.create_model("lenet5")), tmp_path / "theirs.tflite", None)

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.uint8, name="x")])
    def mean(x):
        return {"y": tf.reduce_mean(tf.cast(x, tf.float32), (1, 2)) / 255}

    @tf.function(input_signature=[tf.TensorSpec((None, 8), tf.float32, name="x")])
    def half(x):
        return {"y": x / 2}

    for name, function in (("mean", mean), ("half", half)):
        module = tf.Module()
        module.function = function
        tf.saved_model.save(module, str(tmp_path / name / "1"), signatures={DEFAULT: function})
    image = served.png(served.one_colour("blue"))
    with served.running(*(tmp_path / name for name in ("theirs.tflite", "mean", "half"))) as found:
        for address in (found.rest, found.grpc):
            with Client(f"{address}/theirs") as client:
                encoded, plain = client.predict([image, np.zeros(SIZE, np.uint8)])
                assert encoded.outputs.keys() == plain.outputs.keys() == {"probabilities"}
            with Client(f"{address}/mean") as client:
                assert client.predict([image])[0].top(1) == [{"label": "2", "probability": 1.0}]
            with Client(f"{address}/half") as client, pytest.raises(ServingError, match="it has serving_default"):
                assert client.encoded
    engine = engines.open_engine(tmp_path / "mean" / "1")
    assert list(engine.signatures[DEFAULT].inputs) == ["x"] and list(engine.signatures[DEFAULT].outputs) == ["y"]
    engine.close()


def test_what_serve_is_pointed_at(store, tmp_path):
    def found(*places):
        return [(one.name, one.path.relative_to(store).as_posix(), one.number) for one in discover(map(str, places))]

    onnx, tflite = place(ModelDir(store / "onnx"), "onnx"), place(ModelDir(store / "tflite-int8"), "tflite-int8")
    assert found(store / "onnx", store / "tflite-int8") == [
        ("onnx", onnx.relative_to(store).as_posix(), 1),
        ("tflite-int8", tflite.relative_to(store).as_posix(), 1),
    ]
    assert found(store / "saved_model", f"again={store / 'saved_model' / 'serving'}") == [
        ("saved_model", "saved_model/serving", None), ("again", "saved_model/serving", None)]  # fmt: skip
    assert found(f"one={store / 'saved_model' / 'serving' / '1'}", f"file={onnx}")[0] == (
        "one",
        "saved_model/serving/1",
        1,
    )
    other = onnx.with_name("other.onnx")
    other.write_bytes(onnx.read_bytes())
    with pytest.raises(ServingError, match=r"several models \(onnx.onnx, other.onnx\); give one of them"):
        found(store / "onnx")
    other.unlink()
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "m.onnx").write_bytes(onnx.read_bytes())
    with (
        served.running(f"versioned={tmp_path}") as addresses,
        Client(f"{addresses.rest}/versioned/versions/2") as client,
    ):
        assert client.predict(served.pixels(0, 0)) == []
        assert client.predict([served.png(served.one_colour("red"))])[0].probabilities.shape == (10,)
