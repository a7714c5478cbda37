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
import tensorflow as tf
from click.testing import CliRunner
from scores import keras_scores, scores, write

import cnn_app
from cnn_app import registry
from cnn_app.architectures import googlenet
from cnn_app.artifacts import Card, ModelDir
from cnn_app.cli.main import cli
from cnn_app.data import pipeline
from cnn_app.errors import ArtifactError, ExportError, UnknownName
from cnn_app.export import golden, graph, tflite, verification
from cnn_app.export import onnx as onnx_export
from cnn_app.export import run as exporting
from cnn_app.export.targets import TARGETS, place, target
from cnn_app.inputs.image import Image
from cnn_app.jobs import sources, train
from cnn_app.jobs.export import export
from cnn_app.recipe import Export, Schedule
from cnn_app.runtimes import open_model
from cnn_app.runtimes.tflite import TFLiteRuntime, interpreter_class
from cnn_app.tasks.classification import Classification
from cnn_app.tensors import Spec

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


def lively(name, columns):
    """A network whose batch normalization has seen images, so that its answers differ from each other."""
    keras.utils.set_random_seed(0)
    model = cnn_app.create_model(name, classes=5, **columns)
    pixels = np.random.default_rng(1).integers(0, 256, (16, *model.input_shape[1:]))
    for _ in range(20):
        model(pixels, training=True)
    return model


SHAPES = ("circle", "cross", "square", "star", "triangle")
CORE = ("saved_model", "tflite-float32", "tflite-int8", "onnx")
EVERY_TARGET = ("lenet5", "resnet20", "mobilenet_v1")  # the last two in the slow tests
SIBLINGS = (
    "resnet18",
    "shufflenet_v1",
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
    expected, copy = keras_scores(model, pixels), graph.deployable(model)
    for kind in TARGETS if name in EVERY_TARGET else CORE:
        path = place(ModelDir(tmp_path), kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        runtime = write(kind, copy, path, pixels)
        taken = "float32" if kind == "tflite-int16x8" else "uint8"
        assert runtime.inputs == {"image": Spec(taken, (None, height, width, channels))}
        assert runtime.outputs["probabilities"] == Spec("float32", (None, 5))
        answers = scores(runtime, pixels)
        assert answers.shape == (12, 5) and answers.dtype == np.float32
        np.testing.assert_allclose(answers.sum(1), 1, atol=1e-3)
        np.testing.assert_allclose(answers, expected, atol=MAX_DIFFERENCE[kind], err_msg=kind)
        if path.suffix == ".onnx":
            proto = onnx.load(path)
            assert {node.domain for node in proto.graph.node} == {""}
            assert next(found.version for found in proto.opset_import if found.domain == "") == 17


@pytest.mark.slow
def test_dilated_and_grouped_windows_export_like_others(tmp_path, images):
    model = lively("resnext50_32x4d", {"image": (64, 64, 3), "depths": (1, 1, 2, 1), "output_stride": 8})
    expected, copy = keras_scores(model, images), graph.deployable(model)
    for kind in ("tflite-int8", "onnx"):
        path = place(ModelDir(tmp_path), kind)
        path.parent.mkdir()
        runtime = write(kind, copy, path, images)
        np.testing.assert_allclose(scores(runtime, images), expected, atol=MAX_DIFFERENCE[kind])
        assert kind == "onnx" or runtime.coverage() == (1, {"QUANTIZE": 1})


@pytest.mark.slow
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
    whole = Image((4, 4, 3)).calibration({"image": grey})["image"]
    assert whole.min() == 0 and whole.max() == 255 and (whole[0] != 100).sum() == 6 and (grey == 100).all()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = ModelDir(tmp_path_factory.mktemp("store") / "digits")
    train.train("lenet5", "digits", directory.path, schedule=Schedule(epochs=4, batch=32, lr=0.003))
    return directory


@pytest.fixture(scope="module")
def results(trained):
    """Of its files."""
    return export(trained.path, ("saved_model", "tflite-int8", "onnx"))


def test_export_publishes_verified_files_and_records_them(trained, results):
    assert [result.target for result in results] == ["saved_model", "tflite-int8", "onnx"]
    lines = {line["target"]: line for line in trained.read_exports()}
    assert lines["tflite-int8"]["min_runtime"] == "1.14.0" and "min_runtime" not in lines["onnx"]
    assert lines["saved_model"]["path"] == "serving/1" and lines["tflite-int8"]["path"] == "mobile/digits-int8.tflite"
    for line in lines.values():
        assert line["agreement"] >= (0.98 if line["target"] == "tflite-int8" else 1.0)
        assert (
            line["n"] == 269
            and line["latency_ms"] > 0
            and line["keras_top1"] == trained.read_card().metrics["test"]["top1"]
        )
    export(trained.path, ["saved_model"])
    assert {line["path"] for line in trained.read_exports()} >= {"serving/1", "serving/2"}


def test_a_drop_beyond_the_budget_is_refused_and_nothing_is_left(trained, tmp_path, monkeypatch):
    """A file whose weights were destroyed: it is measured, refused, and leaves no trace; its neighbour is published."""
    copy = copied(trained, tmp_path)
    real = tflite.write

    def ruin(task, model, path, target, calibration):
        real(task, keras.models.clone_model(model), path, target, calibration)

    monkeypatch.setattr(tflite, "write", ruin)
    with pytest.raises(ExportError, match=r"tflite-float32 loses \d+\.\d+ points .* more than --max-drop 1"):
        export(copy.path, ("tflite-float32", "onnx"))
    assert sorted(path.name for path in copy.path.rglob("*") if path.is_file()) == [
        "card.json", "copy.golden.npz", "copy.onnx", "exports.json", "model.keras", "report.html"
    ]  # fmt: skip
    assert [line["target"] for line in json.loads(copy.exports.read_text())] == ["onnx"]


@pytest.mark.slow
@pytest.mark.usefixtures("results")
def test_golden_answers_travel_with_every_file(trained, tmp_path):
    """Eight images, what the file said, and what Keras said; a file that was changed or stands alone is told."""
    for line in trained.read_exports():
        path = trained.path / line["path"]
        check = golden.check(path)
        assert check.passed and check.n == 8 and check.agreement == 1 and check.untouched
        stored = golden.read(golden.place(path))
        pixels, answers, reference = (
            stored[name] for name in ("input/image", "output/probabilities", "reference/probabilities")
        )
        assert pixels.dtype == np.uint8 and pixels.shape == (8, 32, 32, 1)
        np.testing.assert_allclose(answers, reference, atol=0.15 if "int8" in line["path"] else 1e-4)
        np.testing.assert_allclose(reference, keras_scores(cnn_app.load_model(trained.path), pixels), atol=1e-6)
    file = tmp_path / "digits-int8.tflite"
    file.write_bytes((trained.mobile / file.name).read_bytes())
    with pytest.raises(ArtifactError, match="no golden answers at .*; export writes them"):
        golden.check(file)
    answers = golden.place(trained.mobile / file.name).read_bytes()
    golden.place(file).write_bytes(answers)
    assert golden.check(file).passed
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1  # a weight
    file.write_bytes(data)
    assert not golden.check(file).untouched and not golden.check(file).passed
    golden.place(file).write_bytes(answers[: len(answers) // 2])
    with pytest.raises(ArtifactError, match="is damaged"):
        golden.check(file)


@pytest.mark.usefixtures("results")
def test_verify_says_what_passed_and_fails_with_one_line(trained, tmp_path):
    file = trained.mobile / "digits-int8.tflite"
    result = CliRunner().invoke(cli, ["verify", str(file), str(trained.path / "serving" / "1"), "--json"])
    assert [check["passed"] for check in json.loads(result.stdout)] == [True, True] and result.exit_code == 0
    copy = tmp_path / file.name
    copy.write_bytes(file.read_bytes() + b"\0")
    golden.place(copy).write_bytes(golden.place(file).read_bytes())
    result = CliRunner().invoke(cli, ["verify", str(copy)])
    assert result.exit_code == 1 and "FAILED" in result.stdout and "does not answer as it was exported" in result.stderr


@pytest.mark.usefixtures("results")
def test_the_self_test_needs_numpy_and_an_interpreter_only(trained):
    """As a phone's developer runs it: the script beside the file, in a process that knows nothing of this package."""
    script, file = trained.mobile / "selftest.py", trained.mobile / "digits-int8.tflite"
    blocked = "import sys; sys.modules |= dict.fromkeys(('tensorflow', 'keras', 'cnn_app')); import runpy; "
    blocked += f"sys.argv = ['selftest.py', {str(file)!r}]; runpy.run_path({str(script)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True)
    assert done.returncode == 0 and "8 records, largest difference 0.0e+00, passed" in done.stdout
    assert len(script.read_text().splitlines()) < 50


def test_the_self_test_compares_every_named_tensor(tmp_path):
    """Two in and two out, of other sizes each, so that none can stand for another."""

    @tf.function(input_signature=[tf.TensorSpec((1, 4), name="long"), tf.TensorSpec((1, 3), name="short")])
    def both(long, short):
        return {"sums": tf.reduce_sum(long, 1, True) + tf.reduce_sum(short, 1, True), "products": 2 * short}

    tf.saved_model.save(tf.Module(), str(tmp_path / "saved"), {"serving_default": both})
    file, random = tmp_path / "both.tflite", np.random.default_rng(0)
    with tflite.silence():
        file.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved")).convert())
    given = {"long": random.normal(size=(8, 4)).astype("f"), "short": random.normal(size=(8, 3)).astype("f")}
    wanted = {"sums": given["long"].sum(1, keepdims=True) + given["short"].sum(1, keepdims=True),
              "products": 2 * given["short"]}  # fmt: skip
    golden.write(file, golden.answers(file, target("tflite-float32"), given, wanted))
    stored = golden.read(golden.place(file))
    for name, array in wanted.items():
        np.testing.assert_allclose(stored[f"output/{name}"], array, atol=1e-6)

    def tested():
        return subprocess.run([sys.executable, tmp_path / "selftest.py", file], capture_output=True, text=True)

    done = tested()
    assert done.returncode == 0 and done.stdout.endswith("8 records, largest difference 0.0e+00, passed\n"), done.stderr
    for name in wanted:
        wrong = stored[f"output/{name}"].copy()
        wrong[-1, -1] += 1
        np.savez(golden.place(file), **stored | {f"output/{name}": wrong})
        done = tested()
        assert done.returncode == 1 and done.stdout.endswith("largest difference 1.0e+00, FAILED\n")


@pytest.mark.usefixtures("results")
def test_benchmark_takes_turns_and_tells_of_threads_memory_and_delegates(trained):
    files = [trained.mobile / "digits-int8.tflite", trained.onnx / "digits.onnx"]
    result = CliRunner().invoke(cli, ["benchmark", *map(str, files), "--threads", "1,2", "--json"])
    found = json.loads(result.stdout)
    assert [(row["path"], row["threads"]) for row in found] == [(str(file), n) for file in files for n in (1, 2)]
    for row in found:
        assert 0 < row["median_ms"] <= row["p90_ms"] and 10 < row["peak_mib"] < 400
        assert row["bytes"] == Path(row["path"]).stat().st_size
    assert found[0]["delegates"] == 1 and found[2]["delegates"] is None
    assert "median ms" in CliRunner().invoke(cli, ["benchmark", str(files[0])]).stdout
    broken = trained.path / "broken.tflite"
    broken.write_bytes(b"nothing")
    refused = CliRunner().invoke(cli, ["benchmark", str(files[0]), str(broken)])
    broken.unlink()
    assert refused.exit_code == 1 and refused.stderr.startswith(f"Error: cannot load {broken}: ")
    assert len(refused.stderr.splitlines()) == 1 and "cnn_app.errors" not in refused.stderr
    assert CliRunner().invoke(cli, ["benchmark", str(files[0]), "--threads", "none"]).exit_code == 2


def test_agreement_and_drop_by_hand(tmp_path, monkeypatch):
    class Fixed:
        inputs = ("image",)

        def run(self, arrays):
            return {"probabilities": np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])}

    (tmp_path / "x.onnx").write_bytes(b"12345")
    monkeypatch.setattr(verification, "open_model", lambda path: Fixed())
    task = Classification(input=Image((4, 4, 3)), labels=("a", "b"))
    targets = {"class": np.array([0, 1, 1, 0])}
    outputs = {"probabilities": np.array([[0.8, 0.2], [0.1, 0.9], [0.4, 0.6], [0.3, 0.7]])}
    metrics = task.measure([(outputs, targets)]).metrics
    reference = verification.Reference(task, {"image": np.zeros(4)}, targets, outputs, outputs, metrics)
    result = verification.compare("onnx", tmp_path / "x.onnx", reference)
    assert (result.metric, result.title, result.value, result.keras_value) == ("top1", "top-1", 0.5, 0.75)
    assert (result.n, result.drop, result.agreement, result.bytes) == (4, 25.0, 0.75, 5)
    assert result.max_difference == pytest.approx(0.2) and result.speed is None
    assert (result.as_json()["top1"], result.as_json()["keras_top1"], result.as_json()["latency_ms"]) == (
        0.5, 0.75, None
    )  # fmt: skip


def test_a_file_that_its_runtime_refuses_is_not_published(trained, tmp_path, monkeypatch):
    copy = copied(trained, tmp_path)
    monkeypatch.setattr(tflite, "write", lambda task, model, path, target, calibration: path.write_bytes(b"TFL3"))
    monkeypatch.setattr(exporting.metadata, "attach", lambda path, about: True)
    with pytest.raises(ExportError, match="tflite-float32 was written, but its runtime refuses it: cannot load"):
        export(copy.path, ("tflite-float32", "onnx"))
    assert [line["target"] for line in copy.read_exports()] == ["onnx"] and not list(copy.mobile.glob("*"))


@pytest.mark.slow
def test_what_exists_is_replaced_only_by_force(trained, tmp_path):
    directory = copied(trained, tmp_path)
    export(directory.path, ["onnx"])
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
    card = Card(architecture="alexnet", columns=columns, labels=SHAPES, input=Image((67, 67, 3)).facts())
    directory.write_card(card)
    with pytest.raises(ExportError, match=r"int16x8 has no kernel for norm1 \(Local.*; take tflite-int8"):
        export(directory.path, ("onnx", "tflite-int16x8"), "shapes")
    with pytest.raises(ExportError, match=r"norm1 \(Local.*\) cannot learn to round; leave out --qat-epochs"):
        export(directory.path, Export(targets=("onnx",), qat_epochs=1), "shapes")
    assert sorted(path.name for path in directory.path.iterdir()) == ["card.json", "model.keras"]


def copied(trained, folder):
    """A model directory of its own, with nothing exported."""
    copy = ModelDir(folder / "copy")
    copy.path.mkdir()
    for file in (trained.model, trained.card):
        (copy.path / file.name).write_bytes(file.read_bytes())
    return copy


def test_errors(trained, tmp_path):
    with pytest.raises(ExportError, match="no export target named 'tflite'; known: onnx, onnx-int8, saved_model"):
        export(trained.path, ["tflite"])
    for kind in ("tflite-int8", "onnx-int8"):
        for images, text in (
            (None, "calibration images; give --data"),
            (np.zeros((2, 28, 28, 1), np.uint8), r"uint8 \(n, 32, 32, 1\); received uint8 \(n, 28, 28, 1\)"),
            (np.zeros((2, 32, 32, 1), np.float32), r"uint8 \(n, 32, 32, 1\); received float32 \(n, 32, 32, 1\)"),
        ):
            with pytest.raises(ExportError, match=text):
                write(kind, cnn_app.load_model(trained.path), tmp_path / "x", images)
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
    task, dataset = sources.for_model(trained, None)
    strata = task.strata(dataset.splits["train"])
    chosen = pipeline.stratified(strata, 50)
    counts = Counter(strata[chosen])
    assert len(set(chosen)) == 50 and set(counts.values()) == {5}


def test_registry_knows_its_names():
    assert registry.names("mobilenet*") == ["mobilenet_v1", "mobilenet_v2"]
    with pytest.raises(UnknownName):
        registry.spec("mobilenet")


def test_every_delegate_is_counted():
    """Local response normalization runs outside XNNPACK, and parts what it takes into two."""
    layers = keras.layers
    image = keras.Input((8, 8, 4), batch_size=1)
    x = layers.Conv2D(4, 3, activation="relu")(image)
    x = layers.Lambda(lambda x: tf.nn.local_response_normalization(x), name="norm")(x)
    model = keras.Model(image, layers.Conv2D(4, 3, activation="relu")(x))
    with tflite.silence():
        data = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    runtime = TFLiteRuntime(interpreter_class()(model_content=data))
    assert runtime.coverage() == (2, {"LOCAL_RESPONSE_NORMALIZATION": 1})


def test_products_of_8_bits_never_overflow(tmp_path):
    """The largest pixels times the largest weights, pairs of which are beyond 16 bits where weights take all 8."""
    image = keras.Input((8, 8, 4), name="image")
    x = keras.layers.Conv2D(16, 3, kernel_initializer="ones")(keras.layers.Rescaling(1 / 255)(image))
    kernel = keras.initializers.Constant(np.tile([[0.01, 0.0]], (16, 1)))  # 576 products of 1, 16 times
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(2, kernel_initializer=kernel, name="logits")(x))
    pixels, file = np.full((2, 8, 8, 4), 255, np.uint8), tmp_path / "x.onnx"
    pixels[0] = 0
    task = Classification(input=Image((8, 8, 4)), labels=("a", "b"))
    onnx_export.write(task, model, file, target("onnx-int8"), {"image": pixels})
    held = [onnx.numpy_helper.to_array(one) for one in onnx.load(file).graph.initializer]
    weights = [one for one in held if one.dtype == np.int8 and one.ndim == 4]
    assert len(weights) == 1 and np.abs(weights[0].astype(int)).max() == 64
    np.testing.assert_allclose(scores(open_model(file), pixels)[:, 0], [0.5, 1 / (1 + np.exp(-5.76))], atol=0.005)
