"""Masks and texts: a U-Net and a sentence network in every format are served as `predict` answers."""

import io
import json
import shutil

import numpy as np
import pytest
import served
import urllib3
from c_session import Session
from click.testing import CliRunner
from PIL import Image

import cnn_app
from cnn_app import inputs
from cnn_app.cli.main import cli
from cnn_app.errors import ServingError
from cnn_app.runtimes.keras_model import KerasRuntime
from cnn_app.serving import Client
from cnn_app.serving.client import RecordError

SIDE = 16
ENGINES = {"saved_model": "TensorFlow", "onnx": "ONNX Runtime", "tflite-float32": "LiteRT"}
SCENES = [served.png(scene) for scene in served.scenes(40, 5)]  # not of the network's size
TEXTS = [sentence.encode() for sentence in served.SENTENCES]
LEGEND = [b"ground #1f77b4", b"cat #ff7f0e", b"dog #2ca02c"]


@pytest.fixture(scope="module")
def networks():
    return {"masks": served.unet(SIDE), "texts": served.text_cnn()}


@pytest.fixture(scope="module")
def files(networks, tmp_path_factory):
    """By name, such as masks-onnx: the file in a model directory of this name."""
    root = tmp_path_factory.mktemp("store")
    return {f"{name}-{kind}": served.export(*network, root / f"{name}-{kind}", kind)
            for name, network in networks.items() for kind in ENGINES}  # fmt: skip


@pytest.fixture(scope="module")
def server(files):
    root = next(iter(files.values())).parents[2]
    with served.running(root) as found:
        yield found


@pytest.fixture(scope="module")
def http():
    with urllib3.PoolManager(retries=False, timeout=30) as pool:
        yield pool


def decoded(picture):
    return np.asarray(Image.open(io.BytesIO(picture)))


@pytest.mark.slow
def test_the_loader_of_tf_serving_gives_masks_as_keras_does(networks, files):
    """Every signature, in a session of TensorFlow's C API, at two sizes of the batch."""
    task, model = networks["masks"]
    pixels = np.stack(served.scenes(SIDE, 3))
    probabilities = KerasRuntime(task.deployed(model)).run({"image": pixels})["probabilities"]
    expected = task.named({"probabilities": probabilities})
    assert len(np.unique(expected["mask"])) == 3  # or the test says little
    session = Session(files["masks-saved_model"])
    for count in (3, 1):
        inputs = {
            "serving_default": {"image": pixels[:count]},
            "float_pixels": {"image": pixels[:count].astype(np.float32)},
            "image_bytes": {"image_bytes": [served.png(image) for image in pixels[:count]]},
        }
        for signature, given in inputs.items():
            answer = session.run(signature, **given)
            more = {"mask_bytes", "overlay_bytes", "legend"} if signature == "image_bytes" else {"probabilities"}
            assert set(answer) == {"mask", "classes", "scores", *more}
            assert answer["mask"].dtype == np.uint8
            for name in ("mask", "scores"):
                np.testing.assert_allclose(answer[name], expected[name][:count], atol=1e-6)
            assert answer["classes"].tolist() == [[c.encode() for c in row] for row in expected["classes"][:count]]
            if signature == "image_bytes":
                assert answer["legend"].tolist() == [LEGEND] * count
                for one, other in zip(answer["overlay_bytes"], expected["overlay_bytes"], strict=False):
                    np.testing.assert_array_equal(decoded(one), decoded(other))
            else:
                np.testing.assert_allclose(answer["probabilities"], probabilities[:count], atol=1e-5)
    assert session.run("features", image=pixels)["features"].shape == (3, 2)
    session.close()


def test_the_loader_of_tf_serving_reads_texts_as_keras_does(networks, files):
    task, model = networks["texts"]
    tokens = np.stack([task.input.load(text, "it")["tokens"] for text in TEXTS])
    expected = KerasRuntime(task.deployed(model)).run({"tokens": tokens})["probabilities"]
    assert np.ptp(expected, 0).min() > 0.01
    session = Session(files["texts-saved_model"])
    for count in (len(TEXTS), 1):
        for signature, given in (("serving_default", {"tokens": tokens[:count]}), ("text", {"text": TEXTS[:count]})):
            answer = session.run(signature, **given)
            assert set(answer) == {"probabilities", "classes", "scores"}
            np.testing.assert_allclose(answer["probabilities"], expected[:count], atol=1e-5)
            best = expected[:count].argmax(1)
            assert answer["classes"][:, 0].tolist() == [task.labels[i].encode() for i in best]
    assert session.run("features", tokens=tokens)["features"].shape == (len(TEXTS), 4)
    session.close()


def test_the_list_of_models_tells_what_they_are(server, http, networks, files):
    models = {row["name"]: row for row in served.asked(http, "GET", f"{server.rest}/models.json")[1]}
    assert models.keys() == files.keys()
    for name, row in models.items():
        task, _ = networks[name.partition("-")[0]]
        assert row["task"] == task.name and row["classes"] == list(task.labels)
        assert row["input"] == task.input.brief() and "vocabulary" not in row["input"]
        held = files[name].rglob("*") if files[name].is_dir() else [files[name]]
        assert row["bytes"] == sum(len(file.read_bytes()) for file in held if file.is_file()) > 1000
    window = inputs.of_facts({"image": [224, 160, 1], "resize": "crop", "crop_share": 0.875}).brief()
    assert window == {"kind": "image", "image": [224, 160, 1], "resize": "crop", "crop_share": 0.875, "note":
                      "160x224 pixels of grey. An image is scaled until this window takes 87.5% of its shorter side, "
                      "and the middle is cut out."}  # fmt: skip


def test_every_engine_says_the_same_by_either_way(server, http):
    models = {row["name"]: row for row in served.asked(http, "GET", f"{server.rest}/models.json")[1]}
    for name, encoded, records in (("masks", "image_bytes", SCENES), ("texts", "text", TEXTS)):
        answers = {}
        for kind, engine in ENGINES.items():
            assert models[f"{name}-{kind}"]["engine"] == engine and models[f"{name}-{kind}"]["encoded"] == [encoded]
            for address in (server.rest, server.grpc):
                with Client(f"{address}/{name}-{kind}") as client:
                    assert client.encoded == encoded
                    answers[kind, address] = list(client.each(records, client.encoded))
        wanted = answers.pop(("saved_model", server.rest))
        for found in answers.values():
            for one, other in zip(found, wanted, strict=True):
                assert set(one.outputs) == set(other.outputs) and one.labels == other.labels
                np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
                if name == "texts":
                    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)
                    continue
                np.testing.assert_array_equal(one.mask, other.mask)
                assert one.outputs["legend"].tolist() == LEGEND
                pictures = [decoded(answer.outputs["overlay_bytes"].item()) for answer in (one, other)]
                np.testing.assert_array_equal(*pictures)
                assert pictures[0].shape == (SIDE, SIDE, 4)


@pytest.mark.parametrize("kind", ENGINES)
def test_a_mask_stands_in_the_place_of_the_probabilities(server, http, kind):
    """The default signature gives them all the same, and is what `predict` and `evaluate` ask."""
    url = f"{server.rest}/v1/models/masks-{kind}:predict"
    body = {"signature_name": "image_bytes", "instances": [served.b64(SCENES[0])]}
    (row,) = served.asked(http, "POST", url, body)[1]["predictions"]
    assert set(row) == {"mask", "classes", "scores", "mask_bytes", "overlay_bytes", "legend"}
    assert set(row["mask_bytes"]) == set(row["overlay_bytes"]) == {"b64"}
    assert np.shape(row["mask"]) == (SIDE, SIDE) and sum(row["scores"]) == pytest.approx(1)
    (row,) = served.asked(http, "POST", url, {"instances": [served.scenes(SIDE, 1)[0].tolist()]})[1]["predictions"]
    probabilities = row["probabilities"] if kind == "saved_model" else row
    assert np.shape(probabilities) == (SIDE, SIDE, 3)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_the_overlay_is_as_large_as_the_image(padding):
    """A network that does not pad sees the middle alone, and only there is a colour."""
    import tensorflow as tf

    task, model = served.unet(20, labels=("ground", "cat"), padding=padding)
    pixels = np.stack(served.scenes(20, 2))
    outputs = KerasRuntime(task.deployed(model)).run({"image": pixels})
    words = tf.lookup.KeyValueTensorInitializer(tf.range(2, dtype=tf.int64), tf.constant(task.labels))
    by_graph = task.served({"probabilities": tf.constant(outputs["probabilities"])},
                           tf.lookup.StaticHashTable(words, ""), True)  # fmt: skip
    by_hand = task.named(outputs)
    assert by_hand["legend"].tolist() == [["ground #1f77b400", "cat #ff7f0e"]] * 2
    assert by_graph["legend"].numpy().tolist() == [[b"ground #1f77b400", b"cat #ff7f0e"]] * 2
    side = {"same": 20, "valid": 4}[padding]
    for i, mask in enumerate(by_hand["mask"]):
        assert mask.shape == (side, side)
        picture, other = decoded(by_hand["overlay_bytes"][i]), decoded(by_graph["overlay_bytes"][i].numpy())
        np.testing.assert_array_equal(picture, other)
        seen, lost = np.zeros((20, 20), bool), (20 - side) // 2
        seen[lost : lost + side, lost : lost + side] = mask == 1
        assert picture.shape == (20, 20, 4) and ((picture[..., 3] == 255) == seen).all()


def predicted(*words):
    result = CliRunner().invoke(cli, ["predict", *map(str, words)])
    assert result.exit_code == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("kind", ["saved_model", "tflite-float32"])
@pytest.mark.parametrize("name", ["masks", "texts"])
def test_predict_says_the_same_of_a_file_and_of_an_endpoint(server, files, name, kind, tmp_path):
    if name == "masks":
        records = [tmp_path / f"{i}.png" for i in range(len(SCENES))]
        for file, data in zip(records, SCENES, strict=True):
            file.write_bytes(data)
    else:
        (tmp_path / "lines.txt").write_text("".join(f"{sentence}\n" for sentence in served.SENTENCES))
        records = [*served.SENTENCES, tmp_path / "lines.txt"]
    file = files[f"{name}-{kind}"]
    shown, told = predicted(file, *records), json.loads(predicted(file, *records, "--json"))
    for address in (server.rest, server.grpc):
        endpoint = f"{address}/{name}-{kind}"
        assert predicted("--endpoint", endpoint, *records) == shown
        for one, other in zip(json.loads(predicted("--endpoint", endpoint, *records, "--json")), told, strict=True):
            rows = [[tuple(row.values()) for row in answer["top"]] for answer in (one, other)]
            assert [label for label, _ in rows[0]] == [label for label, _ in rows[1]]
            np.testing.assert_allclose(*([score for _, score in each] for each in rows), atol=1e-5)
            assert {**one, "top": 0} == {**other, "top": 0} and one["top"][0].keys() == other["top"][0].keys()
        predicted("--endpoint", endpoint, *records, "--out", tmp_path / "answers.csv")
        table = (tmp_path / "answers.csv").read_text().splitlines()
        kinds = ("image", "share") if name == "masks" else ("text", "probability")
        assert table[0].startswith(f"{kinds[0]},label1,{kinds[1]}1") and len(table) == len(told) + 1


@pytest.mark.parametrize("kind", ENGINES)
def test_bad_records_are_refused_alone(server, http, kind):
    for name, good, bad in (
        ("masks", SCENES[0], {served.bomb(): "it has 50000x50000 pixels",
                              b"no image": "it is no JPEG", SCENES[0][:-40]: "damaged|refuses the request"}),
        ("texts", TEXTS[0], {b"bad \xff": "it is not UTF-8 at byte 4", b" ": "it is empty",
                             b"a" * (2**20 + 1): "it has more than 1 MiB"}),
    ):  # fmt: skip
        for address in (server.rest, server.grpc):
            with Client(f"{address}/{name}-{kind}") as client:
                found = list(client.each([good, *bad, good], client.encoded))
            assert found[0].labels == found[-1].labels and found[0].labels
            for refused, message in zip(found[1:-1], bad.values(), strict=True):
                assert isinstance(refused, RecordError)
                with pytest.raises(RecordError, match=message):
                    raise refused
    url = f"{server.rest}/v1/models/texts-{kind}:predict"
    body = {"signature_name": "text", "instances": ["good", {"b64": "/w=="}]}
    assert served.asked(http, "POST", url, body) == (400, {"error": "cannot read record 1: it is not UTF-8 at byte 0"})
    body = '{"signature_name": "text", "instances": ["\\ud800"]}'
    assert served.asked(http, "POST", url, body)[0] == 400


def test_nothing_is_drawn_upon_what_a_server_has(server):
    result = CliRunner().invoke(cli, ["predict", "--endpoint", f"{server.rest}/masks-onnx", "--draw", "out", "x.png"])
    assert result.exit_code == 2 and "--draw needs an ARTIFACT" in result.stderr


def test_predict_names_the_record_that_a_server_refuses(server, tmp_path):
    (tmp_path / "a.png").write_bytes(SCENES[0])
    (tmp_path / "b.png").write_bytes(served.bomb())
    endpoint = f"{server.rest}/masks-saved_model"
    result = CliRunner().invoke(cli, ["predict", "--endpoint", endpoint, str(tmp_path)])
    assert result.exit_code == 1 and result.stdout.startswith(f"{tmp_path / 'a.png'}: ")
    assert f"Error: {tmp_path / 'b.png'}: {endpoint} answers 400: cannot read the record" in result.stderr


@pytest.mark.slow
def test_a_stale_export_is_not_served(networks, tmp_path, http, caplog):
    """Its directory has another model now; a version that is loaded goes on."""
    task, model = networks["texts"]
    for kind in ENGINES:
        path = tmp_path / kind
        file = served.export(task, model, path, kind)
        fresh = (path / "model.keras").read_bytes()
        with served.running(path) as found:
            (path / "model.keras").write_bytes(b"another model")
            with Client(f"{found.rest}/{kind}") as client:
                assert client.predict(["good"])[0].labels
            if kind == "saved_model":
                shutil.copytree(file, tmp_path / "aside").rename(path / "serving" / "2")
                url = f"{found.rest}/v1/models/{kind}"
                while (rows := served.asked(http, "GET", url)[1]["model_version_status"])[0]["state"] != "END":
                    pass
                assert "2 is stale: " in rows[0]["status"]["error_message"] and rows[1]["state"] == "AVAILABLE"
        caplog.clear()
        with pytest.raises(ServingError) as error, served.running(path):
            raise AssertionError("it is served")
        assert not caplog.records
        last = path / "serving" / "2" if kind == "saved_model" else file
        assert str(error.value) == (f"{kind} cannot be served: {last} is stale: {path / 'model.keras'} was replaced "
                                    "since; export it again")  # fmt: skip
        (path / "model.keras").write_bytes(fresh)
        with served.running(path):
            pass


@pytest.mark.slow
def test_a_trained_network_of_texts_goes_all_the_way(tmp_path):
    """Folder of sentences -> train -> export -> serve."""
    for label in ("glad", "sad"):
        (tmp_path / "data").mkdir(exist_ok=True)
        word = {"glad": "good", "sad": "bad"}[label]
        lines = "".join(f"a {word} day {i % 7} {i % 3}\n" for i in range(60))
        (tmp_path / "data" / f"{label}.txt").write_text(lines)
    from cnn_app.recipe import Schedule

    columns = {"length": 16, "width": 8, "maps": 4, "windows": (2, 3)}
    cnn_app.train("text_cnn", str(tmp_path / "data"), tmp_path / "moods", columns=columns,
                  schedule=Schedule(epochs=8, batch=16, lr=0.01, augment=()))  # fmt: skip
    cnn_app.export(tmp_path / "moods", ("saved_model", "onnx", "tflite-float32"))
    with served.running(tmp_path / "moods") as found, Client(f"{found.grpc}/moods") as client:
        assert [answer.labels[0] for answer in client.predict(["a good day", "such a bad one"])] == ["glad", "sad"]
