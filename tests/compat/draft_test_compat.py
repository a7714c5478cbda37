"""What release 0.1.0 left on disk opens, says what it said, and can be gone on with.

A draft in the names of 0.1.0; the archive lies beside it (README.md). Copied before anything is written.
"""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import served
import urllib3
from click.testing import CliRunner
from cnn_app.evaluation import trained_on

import cnn_app
from cnn_app import layers, recipe
from cnn_app.artifacts import ModelDir, sha256
from cnn_app.cli.main import cli
from cnn_app.export import golden
from cnn_app.runtimes import labels_of, open_model
from cnn_app.serving import store
from cnn_app.training import records

ARCHIVE = Path(__file__).parent
MODEL, PAIR, INT8 = "store/shapes", "store/pair", "store/shapes/mobile/shapes-int8.tflite"
ANSWERS, PRINTED = np.load(ARCHIVE / "answers.npz"), json.loads((ARCHIVE / "answers.json").read_text())
FILES = [name for name in ANSWERS.files if name != "pictures"]
EXPORTS = [check["artifact"] for check in PRINTED["verify"]]
LABELS = ("circle", "cross", "square", "star", "triangle")
EXACT, ROUNDED, TRAINED = 1e-4, 0.02, 1e-5  # of float and of quantized scores, and of weights, elsewhere


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A copy to write in; symbolic links stay what they are."""
    place = shutil.copytree(ARCHIVE, tmp_path / "archive", symlinks=True)
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def here(monkeypatch):
    """For what only reads; the names in answers.json are relative."""
    monkeypatch.chdir(ARCHIVE)


def command(*arguments):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def printed(*arguments):
    return json.loads(command(*arguments, "--json"))


def tolerance(name):
    return ROUNDED if any(kind in name for kind in ("int8", "int16x8", "float16", "dynamic")) else EXACT


# --- files that answer


@pytest.mark.parametrize("name", FILES)
def test_a_file_opens_and_answers_as_it_did(here, name):
    runtime = open_model(name)
    assert runtime.image == (32, 32, 3)
    found = runtime.predict(ANSWERS["pictures"])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, ANSWERS[name], rtol=0, atol=tolerance(name))


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_labelled_as_it_was(here, name):
    assert list(labels_of(name, ANSWERS[name].shape[1])) == PRINTED["labels"][name]


def test_networks_load_with_their_layers(here):
    model = cnn_app.load_model(MODEL)
    assert model.count_params() == 10_819 and model.output_shape == (None, 5)
    both = [*cnn_app.load_model("store/layers.keras").layers, *model.layers]
    kinds = {type(layer).__name__ for layer in both if type(layer).__module__.startswith("cnn_app.layers")}
    assert kinds == set(layers.__all__) - {
        "FakeQuant",
        "FakeQuantKernel",
        "block_diagonal",
        "merged_blocks",
        "plain_lrn",
    }


def test_columns_on_the_card_build_the_same_network_again(here):
    """Weights of the archive fit, layer for layer and name for name."""
    card, old = ModelDir(MODEL).read_card(), cnn_app.load_model(MODEL)
    new = cnn_app.create_model(card.architecture, **card.columns)
    assert [layer.name for layer in new.layers] == [layer.name for layer in old.layers]
    new.set_weights(old.get_weights())
    np.testing.assert_array_equal(new(ANSWERS["pictures"]), old(ANSWERS["pictures"]))


# --- the model directory


def test_the_card_reads(here):
    card = ModelDir(MODEL).read_card()
    assert (card.architecture, card.labels, card.image, card.task) == (
        "resnet20",
        LABELS,
        (32, 32, 3),
        "classification",
    )
    assert card.columns["depths"] == (1, 1, 1) and card.columns["classes"] == 5
    assert card.metrics["test"] == {name: PRINTED["evaluate"][name] for name in ("top1", "top5", "loss", "n")}
    assert card.recipe["augment"] == ["flip"] and card.versions["cnn-app"] == "0.1.0"
    assert card.digests["model.keras"] == sha256(Path(MODEL) / "model.keras")  # git changed no byte
    assert trained_on(ModelDir(MODEL)).source == "shapes"
    assert ModelDir("resume/digits").read_card().metrics["epoch"] == 1


def test_the_list_of_exports_reads(here):
    lines = ModelDir(MODEL).read_exports()
    assert [f"{MODEL}/{line['path']}" for line in lines] == EXPORTS
    for line in lines:
        path = Path(MODEL) / line["path"]
        assert line["sha256"] == sha256(path) and line["model"] == sha256(Path(MODEL) / "model.keras")
        assert line["metadata"] and line["n"] == 147 and line["bytes"] > 0 and "drop" in line and "target" in line


def test_the_history_reads(here):
    rows = list(csv.DictReader(ModelDir(MODEL).history.read_text().splitlines()))
    assert list(rows[0]) == ["epoch", "step", "lr", "loss", "top1", "val_loss", "val_top1"] and len(rows) == 25


# --- commands on old files


def test_evaluate_prints_what_it_did(here):
    found, expected = printed("evaluate", MODEL, "--data", "shapes"), PRINTED["evaluate"]
    assert found == expected | {"loss": pytest.approx(expected["loss"], abs=EXACT)}


@pytest.mark.parametrize("name", FILES)
def test_predict_prints_what_it_did(here, name):
    (found,), (expected,) = printed("predict", name, "picture.png"), PRINTED["predict"][name]
    assert found["picture"] == expected["picture"]
    for ours, theirs in zip(found["top"], expected["top"], strict=True):
        assert ours["probability"] == pytest.approx(theirs["probability"], abs=tolerance(name))
    assert found["top"][0]["label"] == expected["top"][0]["label"]


@pytest.mark.parametrize("name", EXPORTS)
def test_golden_answers_are_repeated(here, name):
    check = golden.check(name)
    assert check.passed and check.untouched and check.n == 8 and check.agreement == 1.0


@pytest.mark.parametrize("name", EXPORTS)
def test_labels_licence_and_origin_are_inside(here, name):
    if name.endswith(".onnx"):
        properties = onnxruntime.InferenceSession(name).get_modelmeta().custom_metadata_map
        labels, about = json.loads(properties["labels"]), properties
    elif name.endswith(".tflite"):
        with zipfile.ZipFile(name) as file:
            labels, about = file.read("labels.txt").decode().splitlines(), json.loads(file.read("model.json"))
    else:
        assets = Path(name) / "assets"
        labels, about = (
            (assets / "labels.txt").read_text().splitlines(),
            json.loads((assets / "model.json").read_text()),
        )
    assert tuple(labels) == LABELS and about["license"] == "Apache-2.0" and about["version"] == "1.0.0"
    assert about["model_sha256"] == sha256(Path(MODEL) / "model.keras")


def test_the_old_self_test_runs(here):
    files = [name for name in EXPORTS if name.endswith(".tflite")]
    done = subprocess.run([sys.executable, f"{MODEL}/mobile/selftest.py", *files], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("passed") == len(files), done.stdout + done.stderr


def test_a_new_export_stands_beside_the_old_ones(archive):
    command("export", MODEL, "--to", "saved_model,onnx", "--max-drop", 100, "--force")
    assert store.versions(ModelDir(MODEL).serving) == [1, 2]
    paths = [line["path"] for line in ModelDir(MODEL).read_exports()]
    assert len(paths) == len(set(paths)) == len(EXPORTS) + 1 and "serving/1" in paths
    np.testing.assert_allclose(
        open_model(f"{MODEL}/serving/2").predict(ANSWERS["pictures"]), ANSWERS[MODEL], atol=EXACT
    )


def test_fine_tuning_starts_from_an_old_directory(archive):
    found = printed("finetune", "resnet20", "--from", MODEL, "--data", "shapes", "--out", "tuned", "--epochs", "1",
                    "--lr", "0", "-c", "depths=[1,1,1]", "-c", "stem=8", "-c", "groups=2", "-c", "group_width=4",
                    "-c", "se_reduction=4", "--image", "32")  # fmt: skip
    assert found["test"]["top1"] > 0.6


# --- a run that was stopped


def test_a_run_is_resumed_to_the_very_same_result(archive, monkeypatch):
    """To the bit on a machine like that of expected.json; all but the last bits on others."""
    expected = json.loads(Path("resume/expected.json").read_text())
    arrays, arguments = np.load("resume/expected.npz"), json.loads(Path("resume/command.json").read_text())["arguments"]
    monkeypatch.chdir("resume")
    command(*arguments)
    finished = ModelDir("digits")
    weights = {weight.path: np.asarray(weight) for weight in cnn_app.load_model(finished.path).weights}
    rows, metrics = list(csv.DictReader(finished.history.read_text().splitlines())), finished.read_card().metrics
    assert not finished.training.exists() and [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert list(weights) == [line["path"] for line in expected["weights"]]
    for line in expected["weights"]:
        np.testing.assert_allclose(weights[line["path"]], arrays[line["path"]], rtol=0, atol=TRAINED)
    if same_machine(expected):
        digests = [hashlib.sha256(array.tobytes()).hexdigest() for array in weights.values()]
        assert digests == [line["sha256"] for line in expected["weights"]]
        assert rows == expected["history"] and metrics == expected["metrics"]


def same_machine(expected):
    """Versions, vector instructions and the number of threads decide the last bits; others gave weights 4e-7 off."""
    wanted, own = expected["machine"], Path("/proc/cpuinfo").read_text().split()
    alike = set(wanted["vectors"]) <= set(own) and wanted["threads"] == len(os.sched_getaffinity(0))
    versions = {name: expected["versions"][name] for name in ("keras", "tensorflow", "numpy")}
    return alike and versions.items() <= records.versions().items()


def test_a_resumed_run_is_the_same_run_only_with_the_same_options(archive, monkeypatch):
    arguments = json.loads(Path("resume/command.json").read_text())["arguments"]
    monkeypatch.chdir("resume")
    result = CliRunner().invoke(cli, [*arguments, "--lr", "0.5"])
    assert result.exit_code == 1 and "another lr: it was 0.01 and is 0.5 now" in result.output


# --- serving


def test_the_saved_model_has_its_signatures_and_warms_itself_up(here):
    import tensorflow as tf
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    loaded = tf.saved_model.load(f"{MODEL}/serving/1")
    assert set(loaded.signatures) == {"serving_default", "float_pixels", "image_bytes", "features"}
    expected, pictures = ANSWERS[f"{MODEL}/serving/1"], ANSWERS["pictures"]
    files = [served.png(picture) for picture in pictures]
    inputs = {"serving_default": {"image": tf.constant(pictures)}, "image_bytes": {"image_bytes": tf.constant(files)},
              "float_pixels": {"image": tf.constant(pictures.astype(np.float32))}}  # fmt: skip
    for name, value in inputs.items():
        found = loaded.signatures[name](**value)
        np.testing.assert_allclose(found["probabilities"], expected, atol=EXACT)
        assert [row[0].decode() for row in found["classes"].numpy()] == [LABELS[i] for i in expected.argmax(1)]
    assert loaded.signatures["features"](image=tf.constant(pictures))["features"].shape == (8, 32)
    records = tf.data.TFRecordDataset(f"{MODEL}/serving/1/assets.extra/tf_serving_warmup_requests")
    for record in records.as_numpy_iterator():
        request = PredictionLog.FromString(record).predict_log.request
        values = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        assert loaded.signatures[request.model_spec.signature_name](**values)


def test_the_store_has_its_versions_and_labels_and_goes_on(archive):
    base = Path(PAIR) / "serving"
    assert store.versions(base) == [1, 2] and store.labels(base) == {"stable": 1}
    assert store.label(base, {"canary": 2}) == {"canary": 2, "stable": 1}
    assert store.publish(base / "2", base) == 3 and store.rollback(base) == (2, 4)
    assert store.prune(base, keep=1) == [3] and store.versions(base) == [1, 2, 4]
    command("serving", "config", PAIR, "--out", "config")
    assert "stable" in Path("config/models.config").read_text()


def test_the_server_serves_old_versions_by_label(archive):
    """The base path with labels, a whole model directory, and single files."""
    places = [PAIR, MODEL, f"small={INT8}", f"open={MODEL}/onnx/shapes.onnx"]
    urls = {f"{PAIR}/serving/1": "pair/labels/stable", f"{PAIR}/serving/2": "pair/versions/2",
            f"{MODEL}/serving/1": "shapes", INT8: "small", f"{MODEL}/onnx/shapes.onnx": "open"}  # fmt: skip
    with served.running(*places) as found, urllib3.PoolManager(retries=False) as http:
        for name, url in urls.items():
            body = {"instances": ANSWERS["pictures"][:1].tolist()}
            status, answer = served.asked(http, "POST", f"{found.rest}/v1/models/{url}:predict", body)
            assert status == 200, answer
            (row,) = answer["predictions"]
            scores = row["probabilities"] if isinstance(row, dict) else row
            np.testing.assert_allclose(scores, ANSWERS[name][0], atol=tolerance(name))


# --- delivery: signed in 2100, good until 2100-01-31


def test_the_catalogue_lists_what_it_did(here):
    assert printed("deliver", "list", "catalogue") == json.loads(Path("catalogue.json").read_text())["list"]


@pytest.mark.parametrize("root", ["1.root.json", "2.root.json"])
def test_a_client_fetches_from_an_old_catalogue(archive, root):
    expected = json.loads(Path("catalogue.json").read_text())["fetch"]
    ask = ("fetch", "catalogue", "shapes", "--root", f"catalogue/metadata/{root}", "--out", "app/shapes.tflite")
    assert printed(*ask) == expected | {"path": "app/shapes.tflite"}  # 1.1.0 was withdrawn
    assert printed(*ask, "--channel", "beta", "--device", "npu")["version"] == "2.0.0b1"
    np.testing.assert_allclose(
        open_model("app/shapes.tflite").predict(ANSWERS["pictures"]), ANSWERS[INT8], atol=ROUNDED
    )


def test_a_client_that_is_out_goes_on_from_its_state(archive):
    ask = ("fetch", "catalogue", "shapes", "--root", "catalogue/metadata/1.root.json", "--out", "client/shapes.tflite")
    assert printed(*ask)["changed"] is False
    os.remove("client/shapes.tflite")
    assert printed(*ask)["changed"] is True


def test_a_changed_file_of_the_catalogue_is_refused(archive):
    (file,) = Path("catalogue/targets/shapes/stable/any/1.0.0").glob("*.tflite")
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    ask = ("fetch", "catalogue", "shapes", "--root", "catalogue/metadata/1.root.json", "--out", "app/shapes.tflite")
    assert CliRunner().invoke(cli, ask).exit_code == 1 and not Path("app/shapes.tflite").exists()


def test_an_old_file_goes_into_a_new_catalogue(archive):
    command("deliver", "init", "new", "--keys", "keys")
    (added,) = printed("deliver", "add", "new", INT8, "--version", "1.0.0", "--keys", "keys")
    assert (added["name"], added["kind"], added["min_runtime"]) == ("shapes", "tflite-int8", "2.9.0")


# --- recipes


@pytest.mark.parametrize("name", sorted(path.name for path in (ARCHIVE / "recipes").glob("*.toml")))
def test_a_recipe_reads_as_it_did(here, name):
    """Every key has its value still; a later version may know more of them."""
    expected = json.loads(Path("recipes/read.json").read_text())[name]
    assert_has(json.loads(json.dumps(asdict(recipe.read(f"recipes/{name}")))), expected)


def assert_has(found, expected):
    if not isinstance(expected, dict):
        assert found == expected
        return
    for key, value in expected.items():
        assert_has(found[key], value)
