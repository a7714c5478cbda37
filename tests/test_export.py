"""Every target of every family against Keras, and what is refused."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from click.testing import CliRunner

import cnn_app
from cnn_app import data as sources
from cnn_app import registry
from cnn_app.architectures import googlenet
from cnn_app.artifacts import Card, ModelDir
from cnn_app.cli.main import cli
from cnn_app.data import pipeline
from cnn_app.errors import ArtifactError, ExportError, UnknownName
from cnn_app.evaluation import data_for
from cnn_app.export import golden, graph, tflite, verification
from cnn_app.export import run as exporting
from cnn_app.export.targets import TARGETS, place, target
from cnn_app.recipe import Data, Export, Schedule
from cnn_app.runtimes import latency, open_model
from cnn_app.runtimes.keras_model import KerasRuntime
from cnn_app.training.run import plan, run

NETWORKS = {
    "lenet5": {},
    "resnet20": {},
    "resnet18": {"image": (64, 64, 3)},
    "seresnext50_32x4d": {"image": (64, 64, 3), "depths": (1, 1, 1, 1)},
    "mobilenet_v2": {"image": (64, 64, 3), "width": 0.35},
    "googlenet": {"image": (64, 64, 3), "modules": googlenet.GOOGLENET[:3]},
    "inception_bn": {"image": (64, 64, 3), "modules": googlenet.INCEPTION_BN[1:4]},
    "mobilenet_v1": {"image": (64, 64, 3), "width": 0.25},
    "shufflenet_v1": {"image": (64, 64, 3), "scale": 0.5},
    "shufflenet_v2": {"image": (64, 64, 3), "scale": 0.5},
}
MAX_DIFFERENCE = {
    "saved_model": 1e-5,
    "onnx": 1e-4,
    "tflite-float32": 1e-4,
    "tflite-float16": 0.02,
    "tflite-int8": 0.15,
    "tflite-dynamic": 0.15,
    "tflite-int16x8": 0.15,
    "onnx-int8": 0.15,
}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3)).astype(np.uint8)


def write(name, model, path, calibration):
    from importlib import import_module

    import_module(f"cnn_app.export.{target(name).module}").write(model, path, target(name), calibration)


def lively(name, columns):
    """A network whose batch normalization has seen images, so that its answers differ from each other."""
    keras.utils.set_random_seed(0)
    model = cnn_app.create_model(name, classes=5, **columns)
    pixels = np.random.default_rng(1).integers(0, 256, (16, *model.input_shape[1:]))
    for _ in range(20):
        model(pixels, training=True)
    return model


CORE = ("saved_model", "tflite-float32", "tflite-int8", "onnx")
EVERY_TARGET = ("lenet5", "resnet20", "mobilenet_v1")  # the last two in the slow tests
SIBLINGS = (
    "resnet18",
    "resnet20",
    "seresnext50_32x4d",
    "googlenet",
    "inception_bn",
    "mobilenet_v1",
    "mobilenet_v2",
    "shufflenet_v2",
)  # their layers are in the others, too


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SIBLINGS else ()) for name in NETWORKS]
)
def test_every_target_answers_as_keras_does(name, tmp_path, images):
    model = lively(name, NETWORKS[name])
    height, width, channels = model.input_shape[1:]
    pixels = images[:, :height, :width, :channels]
    expected = KerasRuntime(model).predict(pixels)
    copy = graph.deployable(model)
    for kind in TARGETS if name in EVERY_TARGET else CORE:
        path = place(ModelDir(tmp_path), kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        write(kind, copy, path, pixels)
        runtime = open_model(path)
        assert runtime.image == (height, width, channels)
        answers = runtime.predict(pixels)
        assert answers.shape == (12, 5) and answers.dtype == np.float32
        np.testing.assert_allclose(answers.sum(1), 1, atol=1e-3)
        np.testing.assert_allclose(answers, expected, atol=MAX_DIFFERENCE[kind], err_msg=kind)
        if path.suffix == ".onnx":
            proto = onnx.load(path)
            assert {node.domain for node in proto.graph.node} == {""}
            assert next(found.version for found in proto.opset_import if found.domain == "") == 17


def test_dilated_and_grouped_windows_export_like_others(tmp_path, images):
    model = lively("resnext50_32x4d", {"image": (64, 64, 3), "depths": (1, 1, 2, 1), "output_stride": 8})
    expected, copy = KerasRuntime(model).predict(images), graph.deployable(model)
    for kind in ("tflite-int8", "onnx"):
        path = place(ModelDir(tmp_path), kind)
        path.parent.mkdir()
        write(kind, copy, path, images)
        runtime = open_model(path)
        np.testing.assert_allclose(runtime.predict(images), expected, atol=MAX_DIFFERENCE[kind])
        assert kind == "onnx" or runtime.coverage() == (1, {"QUANTIZE": 1})


def test_deployable_is_the_same_function_in_other_layers():
    model = lively("shufflenet_v1", {"image": (64, 64, 3), "scale": 0.5})
    copy = graph.deployable(model)
    kinds = Counter(type(layer).__name__ for layer in copy.layers)
    assert kinds["AveragePooling2D"] == 0 and {
        layer.lowering for layer in copy.layers if hasattr(layer, "lowering")
    } == {"native"}
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3))
    np.testing.assert_allclose(copy.predict_on_batch(pixels), model.predict_on_batch(pixels), atol=1e-5)


def test_the_input_scale_is_one_whatever_the_contrast():
    grey = np.full((2, 4, 4, 3), 100, np.uint8)
    whole = tflite.whole_range(grey)
    assert whole.min() == 0 and whole.max() == 255 and (whole[0] != 100).sum() == 6 and (grey == 100).all()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = ModelDir(tmp_path_factory.mktemp("store") / "digits")
    run(plan("lenet5", {}, Data(source="digits"), Schedule(epochs=4, batch=32, lr=0.003)), directory)
    return directory, data_for(directory, None)


def test_export_publishes_verified_files_and_records_them(trained):
    directory, dataset = trained
    results = exporting.export(directory, Export(targets=("saved_model", "tflite-int8", "onnx")), dataset)
    assert [result.target for result in results] == ["saved_model", "tflite-int8", "onnx"]
    lines = {line["target"]: line for line in directory.read_exports()}
    assert lines["tflite-int8"]["min_runtime"] == "1.14.0" and "min_runtime" not in lines["onnx"]
    assert lines["saved_model"]["path"] == "serving/1" and lines["tflite-int8"]["path"] == "mobile/digits-int8.tflite"
    for line in lines.values():
        assert line["agreement"] >= (0.98 if line["target"] == "tflite-int8" else 1.0)
        assert (
            line["n"] == 276
            and line["latency_ms"] > 0
            and line["keras_top1"] == directory.read_card().metrics["test"]["top1"]
        )
    exporting.export(directory, Export(targets=("saved_model",)), dataset)
    assert {line["path"] for line in directory.read_exports()} >= {"serving/1", "serving/2"}


def test_a_drop_beyond_the_budget_is_refused_and_nothing_is_left(trained, tmp_path, monkeypatch):
    """A file whose weights were destroyed: it is measured, refused, and leaves no trace; its neighbour is published."""
    copy, dataset = copied(trained, tmp_path)
    real = tflite.write

    def ruin(model, path, target, calibration):
        model = keras.models.clone_model(model)
        real(model, path, target, calibration)

    monkeypatch.setattr(tflite, "write", ruin)
    with pytest.raises(ExportError, match=r"tflite-float32 loses \d+\.\d+ points .* more than --max-drop 1"):
        exporting.export(copy, Export(targets=("tflite-float32", "onnx")), dataset)
    assert sorted(path.name for path in copy.path.rglob("*") if path.is_file()) == [
        "card.json", "copy.golden.npz", "copy.onnx", "exports.json", "model.keras"
    ]  # fmt: skip
    assert [line["target"] for line in json.loads(copy.exports.read_text())] == ["onnx"]


def test_golden_answers_travel_with_every_file(trained, tmp_path):
    """Eight images, what the file said, and what Keras said; a file that was changed or stands alone is told."""
    directory, dataset = trained
    for line in directory.read_exports():
        path = directory.path / line["path"]
        check = golden.check(path)
        assert check.passed and check.n == 8 and check.agreement == 1 and check.untouched
        stored = golden.read(golden.place(path))
        assert stored["images"].dtype == np.uint8 and stored["images"].shape == (8, 32, 32, 1)
        np.testing.assert_allclose(stored["scores"], stored["reference"], atol=0.15 if "int8" in line["path"] else 1e-4)
        expected = KerasRuntime(cnn_app.load_model(directory.path)).predict(stored["images"])
        np.testing.assert_allclose(stored["reference"], expected, atol=1e-6)
    file = tmp_path / "digits-int8.tflite"
    file.write_bytes((directory.mobile / file.name).read_bytes())
    with pytest.raises(ArtifactError, match="no golden answers at .*; export writes them"):
        golden.check(file)
    answers = golden.place(directory.mobile / file.name).read_bytes()
    golden.place(file).write_bytes(answers)
    assert golden.check(file).passed
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1  # a weight
    file.write_bytes(data)
    assert not golden.check(file).untouched and not golden.check(file).passed
    golden.place(file).write_bytes(answers[: len(answers) // 2])
    with pytest.raises(ArtifactError, match="is damaged"):
        golden.check(file)


def test_verify_says_what_passed_and_fails_with_one_line(trained, tmp_path):
    directory, _ = trained
    file = directory.mobile / "digits-int8.tflite"
    result = CliRunner().invoke(cli, ["verify", str(file), str(directory.path / "serving" / "1"), "--json"])
    assert [check["passed"] for check in json.loads(result.stdout)] == [True, True] and result.exit_code == 0
    copy = tmp_path / file.name
    copy.write_bytes(file.read_bytes() + b"\0")
    golden.place(copy).write_bytes(golden.place(file).read_bytes())
    result = CliRunner().invoke(cli, ["verify", str(copy)])
    assert result.exit_code == 1 and "FAILED" in result.stdout and "does not answer as it was exported" in result.stderr


def test_the_self_test_needs_numpy_and_an_interpreter_only(trained):
    """As a phone's developer runs it: the script beside the file, in a process that knows nothing of this package."""
    directory, _ = trained
    script, file = directory.mobile / "selftest.py", directory.mobile / "digits-int8.tflite"
    blocked = "import sys; sys.modules |= dict.fromkeys(('tensorflow', 'keras', 'cnn_app')); import runpy; "
    blocked += f"sys.argv = ['selftest.py', {str(file)!r}]; runpy.run_path({str(script)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True)
    assert done.returncode == 0 and "8 images, largest difference 0.0e+00, same answers, passed" in done.stdout
    assert len(script.read_text().splitlines()) < 45


def test_benchmark_takes_turns_and_tells_of_threads_memory_and_delegates(trained):
    directory, _ = trained
    files = [directory.mobile / "digits-int8.tflite", directory.onnx / "digits.onnx"]
    result = CliRunner().invoke(cli, ["benchmark", *map(str, files), "--threads", "1,2", "--json"])
    found = json.loads(result.stdout)
    assert [(row["path"], row["threads"]) for row in found] == [(str(file), n) for file in files for n in (1, 2)]
    for row in found:
        assert 0 < row["median_ms"] <= row["p90_ms"] and 10 < row["peak_mib"] < 400
        assert row["bytes"] == Path(row["path"]).stat().st_size
    assert found[0]["delegates"] == 1 and found[2]["delegates"] is None
    assert "median ms" in CliRunner().invoke(cli, ["benchmark", str(files[0])]).stdout
    broken = directory.path / "broken.tflite"
    broken.write_bytes(b"nothing")
    refused = CliRunner().invoke(cli, ["benchmark", str(files[0]), str(broken)])
    broken.unlink()
    assert refused.exit_code == 1 and refused.stderr.startswith(f"Error: cannot load {broken}: ")
    assert len(refused.stderr.splitlines()) == 1 and "cnn_app.errors" not in refused.stderr
    assert CliRunner().invoke(cli, ["benchmark", str(files[0]), "--threads", "none"]).exit_code == 2


def test_agreement_and_drop_by_hand(tmp_path, monkeypatch):
    class Fixed:
        def predict(self, pixels):
            return np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])

    (tmp_path / "x.onnx").write_bytes(b"12345")
    monkeypatch.setattr(verification, "open_model", lambda path: Fixed())
    monkeypatch.setattr(verification.latency, "measure", lambda paths: [latency.Speed(paths[0], 1, 1.0, 1.0, 1.0)])
    reference = np.array([[0.8, 0.2], [0.1, 0.9], [0.4, 0.6], [0.3, 0.7]])
    result = verification.compare("onnx", tmp_path / "x.onnx", np.zeros(4), np.array([0, 1, 1, 0]), reference)
    assert (result.top1, result.keras_top1, result.drop, result.agreement, result.bytes) == (0.5, 0.75, 25.0, 0.75, 5)
    assert result.max_difference == pytest.approx(0.2)


def test_a_file_that_its_runtime_refuses_is_not_published(trained, tmp_path, monkeypatch):
    copy, dataset = copied(trained, tmp_path)
    monkeypatch.setattr(tflite, "write", lambda model, path, target, calibration: path.write_bytes(b"TFL3"))
    monkeypatch.setattr(exporting.metadata, "attach", lambda path, about: True)
    with pytest.raises(ExportError, match="tflite-float32 was written, but its runtime refuses it: cannot load"):
        exporting.export(copy, Export(targets=("tflite-float32", "onnx")), dataset)
    assert [line["target"] for line in copy.read_exports()] == ["onnx"] and not list(copy.mobile.glob("*"))


def test_what_exists_is_replaced_only_by_force(trained, tmp_path):
    directory, dataset = copied(trained, tmp_path)
    exporting.export(directory, Export(targets=("onnx",)), dataset)
    file, lines = directory.onnx / "copy.onnx", directory.exports.read_bytes()
    file.write_bytes(b"somebody's own")
    arguments = ["export", str(directory.path), "--to", "tflite-float32,onnx"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1 and result.output == f"Error: {file} exists; --force replaces it\n"
    assert file.read_bytes() == b"somebody's own" and not directory.mobile.exists()  # told before any work
    assert directory.exports.read_bytes() == lines
    result = CliRunner().invoke(cli, [*arguments, "--force"])
    assert result.exit_code == 0 and golden.check(file).passed


def test_what_a_target_has_no_kernel_for_is_told_before_any_work(tmp_path):
    directory, columns = ModelDir(tmp_path / "alexnet"), {"image": (67, 67, 3), "units": 16}
    model = cnn_app.create_model("alexnet", classes=5, **columns)
    directory.path.mkdir()
    model.save(directory.model)
    card = Card(architecture="alexnet", columns=columns, labels=tuple("abcde"), image=(67, 67, 3))
    directory.write_card(card)
    options = Export(targets=("onnx", "tflite-int16x8"))
    with pytest.raises(ExportError, match=r"int16x8 has no kernel for norm1 \(Local.*; take tflite-int8"):
        exporting.export(directory, options, sources.load(Data(source="shapes")))
    with pytest.raises(ExportError, match=r"norm1 \(Local.*\) cannot learn to round; leave out --qat-epochs"):
        exporting.export(directory, Export(targets=("onnx",), qat_epochs=1), sources.load(Data(source="shapes")))
    assert sorted(path.name for path in directory.path.iterdir()) == ["card.json", "model.keras"]


def copied(trained, folder):
    """A model directory of its own, with nothing exported."""
    directory, dataset = trained
    copy = ModelDir(folder / "copy")
    copy.path.mkdir()
    for file in (directory.model, directory.card):
        (copy.path / file.name).write_bytes(file.read_bytes())
    return copy, dataset


def test_errors(trained, tmp_path):
    directory, dataset = trained
    with pytest.raises(ExportError, match="no export target named 'tflite'; known: onnx, onnx-int8, saved_model"):
        exporting.export(directory, Export(targets=("tflite",)), dataset)
    for kind in ("tflite-int8", "onnx-int8"):
        for images, text in (
            (None, "calibration images; give --data"),
            (np.zeros((2, 28, 28, 1), np.uint8), "uint8 of 32x32x1; received uint8 of 28x28x1"),
            (np.zeros((2, 32, 32, 1), np.float32), "uint8 of 32x32x1; received float32 of 32x32x1"),
        ):
            with pytest.raises(ExportError, match=text):
                write(kind, cnn_app.load_model(directory.path), tmp_path / "x", images)
            assert not (tmp_path / "x").exists()
    for name, text in (
        ("x.tflite", "cannot load"),
        ("x.onnx", "cannot load"),
        ("x.keras", "cut off"),
        ("x.pt", "no model file"),
    ):
        (tmp_path / name).write_bytes(b"not a model at all")
        with pytest.raises(ArtifactError, match=text):
            open_model(tmp_path / name)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "saved_model.pb").write_bytes(b"nonsense")
    with pytest.raises(ArtifactError, match="cannot load the SavedModel"):
        open_model(tmp_path / "bad")
    with pytest.raises(ArtifactError, match="no model at"):
        open_model(tmp_path / "none.tflite")


def test_keras_files_with_code_or_cut_off_are_refused(tmp_path):
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2)(inputs))
    model.save(tmp_path / "code.keras")
    with pytest.raises(ArtifactError, match="it holds code, which is never run"):
        cnn_app.load_model(tmp_path / "code.keras")
    whole = tmp_path / "whole.keras"
    cnn_app.create_model("lenet5").save(whole)
    whole.write_bytes(whole.read_bytes()[:-1000])
    with pytest.raises(ArtifactError, match="cut off"):
        cnn_app.load_model(whole)


def test_calibration_is_stratified(trained):
    _, dataset = trained
    chosen = pipeline.stratified(dataset.splits["train"], 50)
    counts = Counter(dataset.splits["train"].labels[chosen])
    assert len(set(chosen)) == 50 and set(counts.values()) == {5}


def test_registry_knows_its_names():
    assert registry.names("mobilenet*") == ["mobilenet_v1", "mobilenet_v2"]
    with pytest.raises(UnknownName):
        registry.spec("mobilenet")
