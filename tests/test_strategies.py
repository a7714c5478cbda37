"""The accuracy budget: strategies are tried in order, and the layers that int8 ruins are found and left in float."""

import csv
import json
import signal
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import cnn_app
from cnn_app.artifacts import ModelDir, sha256
from cnn_app.data import pipeline
from cnn_app.errors import ExportError
from cnn_app.export import graph
from cnn_app.export import run as exporting
from cnn_app.export.quantization import sensitivity, strategies
from cnn_app.jobs import sources, train
from cnn_app.recipe import Export, Schedule
from cnn_app.runtimes import latency, open_model
from cnn_app.training.engine import Watch

RUINED = "stage2_unit1"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = ModelDir(tmp_path_factory.mktemp("store") / "even")
    columns = {"depths": (1, 1, 1), "image": (16, 16, 1)}
    schedule = Schedule(epochs=6, batch=32, lr=0.003)
    train.train("resnet20", "digits", directory.path, columns=columns, schedule=schedule)
    return directory, *sources.for_model(directory, None)


def images_of(dataset, split):
    return pipeline.gathered(dataset.splits[split])[0]["image"]


def uneven_copy(trained, path, factor):
    """`trained` with one channel `factor` times as large as its neighbours, and its reader as much smaller.

    ReLU is homogeneous, so in float the function is the same; in int8 all other channels round to few values or zero.
    """
    directory, task, dataset = trained
    copy = ModelDir(path)
    copy.path.mkdir(parents=True)
    model, pixels = cnn_app.load_model(directory.path), images_of(dataset, "test")
    before = model.predict_on_batch(pixels)
    norm, reader = model.get_layer(f"{RUINED}_a_bn"), model.get_layer(f"{RUINED}_b_conv")
    gamma, beta, *statistics = norm.get_weights()
    gamma[0], beta[0] = factor * gamma[0], factor * beta[0]
    norm.set_weights([gamma, beta, *statistics])
    kernel = reader.get_weights()[0]
    kernel[:, :, 0] /= factor
    reader.set_weights([kernel])
    np.testing.assert_allclose(model.predict_on_batch(pixels), before, atol=1e-3)
    model.save(copy.model)
    copy.write_card(replace(directory.read_card(), digests={"model.keras": sha256(copy.model)}))
    return copy, task, dataset


@pytest.fixture(scope="module")
def uneven(trained, tmp_path_factory):
    return uneven_copy(trained, tmp_path_factory.mktemp("store") / "uneven", 3000)


@pytest.fixture
def not_equalized(monkeypatch):
    """As if more than one layer read each tensor."""
    monkeypatch.setattr(strategies.equalization, "equalize", lambda plain, records: None)


@pytest.mark.slow
def test_one_channel_that_dwarfs_the_others_costs_nothing(uneven):
    """All of the file stays in int8."""
    directory, task, dataset = uneven
    told = []
    options = Export(targets=("tflite-int8",), max_drop=0.5)
    exporting.export(directory, options, task, dataset, told.append, force=True)
    assert [result.strategy for result in told] == ["200 images", "1000 images", strategies.EQUALIZED]
    assert min(result.drop for result in told[:2]) > 5 and told[2].drop <= 0.5
    assert directory.read_exports()[0]["float_layers"] == [] and told[2].speed.ops_outside == {"QUANTIZE": 1}


@pytest.mark.slow
def test_the_ladder_is_climbed_until_the_drop_fits(uneven, not_equalized, monkeypatch):
    """And only the file that is published is timed, which takes longer than writing it."""
    directory, task, dataset = uneven
    timed, measure = [], latency.measure
    monkeypatch.setattr(latency, "measure", lambda paths, **kept: timed.append(paths) or measure(paths, **kept))
    told = []
    options = Export(targets=("tflite-int8",), max_drop=0.5)
    results = exporting.export(directory, options, task, dataset, told.append, force=True)
    assert [result.strategy for result in told] == [
        "200 images",
        "1000 images",
        strategies.EQUALIZED,
        "1 in float",
        "2 in float",
    ]
    assert all(result.drop > 5 for result in told[:4]) and [result.strategy for result in results] == ["2 in float"]
    assert results[0].drop <= 0.5 and results[0].speed.ops_outside == {"QUANTIZE": 1}
    assert len(timed) == 1 and [result.speed is None for result in told] == [True, True, True, True, False]
    line = next(line for line in directory.read_exports() if line["target"] == "tflite-int8")
    assert set(line["float_layers"]) == {f"{RUINED}_a_relu", f"{RUINED}_b_bn"} and line["strategy"] == "2 in float"
    file = directory.path / line["path"]
    assert open_model(file).inputs["image"].dtype == "uint8" and zipfile.is_zipfile(file) == line["metadata"]
    with file.with_suffix(".layers.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert {row["layer"] for row in rows[:2]} == set(line["float_layers"])
    assert float(rows[1]["sensitivity"]) > 10 * float(rows[2]["sensitivity"])  # though its noise is ordinary:
    assert max(float(row["snr_db"]) for row in rows[:2]) > 30


def test_harm_and_noise_are_measured_operator_by_operator(uneven):
    """With everything in float nothing moves; an even network has no operator that ruins it."""
    directory, task, dataset = uneven
    model = cnn_app.create_model("resnet20", depths=(1, 1, 1), image=(16, 16, 1))
    images = images_of(dataset, "train")[:60]
    for _ in range(20):
        model(images, training=True)
    calibrated = sensitivity.Sensitivity(task, graph.deployable(model), {"image": images})
    errors = calibrated.errors()
    assert [error.sensitivity for error in errors] == sorted((error.sensitivity for error in errors), reverse=True)
    assert errors[0].sensitivity < 0.1 and min(error.snr_db for error in errors) > 10
    assert {"stem_relu", "stage3_unit1_b_bn", "logits"} <= {error.layer for error in errors}


class Stored(sensitivity.Sensitivity):
    """Operators whose rounding moves the first of two shares by HARM."""

    HARM = {"a": 0.1, "b": 0.4, "c": 0.0}

    def __init__(self):
        self.calibrated = SimpleNamespace(layer=str.upper)

    def _noise(self):
        return {"a": 1.0, "b": 2.0, "c": 3.0}

    def _answers(self, in_float):
        moved = sum(harm for tensor, harm in self.HARM.items() if tensor not in in_float)
        return {"probabilities": np.array([[0.5 + moved, 0.5 - moved]]), "place": np.array([3])}


def test_harm_is_that_of_one_operator_alone_and_the_worst_come_first():
    found = Stored().errors()
    assert [(error.layer, error.tensor, error.snr_db) for error in found] == [
        ("B", "b", 2),
        ("A", "a", 1),
        ("C", "c", 3),
    ]
    assert [error.sensitivity for error in found] == pytest.approx([0.4, 0.1, 0.0])


def test_noise_by_hand():
    """Numbers 1 and 2 read as 1.1 and 2: 10 log10(5 / 0.01)."""
    snr = sensitivity._snr(np.array([1.0, 2.0]), np.array([14, 23], np.int8), 0.1, 3)
    assert snr == pytest.approx(10 * np.log10(500))


def test_a_file_of_integers_gets_records_as_integers():
    """28.4 steps of 0.5 from zero point -128, and what is beyond the last step."""
    details = [{"name": "serving_default_audio:0", "quantization": (0.5, -128)},
               {"name": "serving_default_tokens:0", "quantization": (0.0, 0)}]  # fmt: skip
    given = {"audio": np.array([[0.0, 14.2, 500.0]], np.float32), "tokens": np.array([[3]], np.int32)}
    found = sensitivity._rounded(given, details)
    assert found["audio"].dtype == np.int8 and found["audio"].tolist() == [[-128, -100, 127]]
    assert found["tokens"] is given["tokens"]


def ladder(monkeypatch, count, operators):
    """The strategies for int8 of a network without a simulation, with `count` records for training."""
    errors = [sensitivity.LayerError(f"layer{i}", f"tensor{i}", 10.0, 1 / (i + 1)) for i in range(operators)]
    stand_in = SimpleNamespace(errors=lambda: errors)
    monkeypatch.setattr(strategies, "Sensitivity", lambda *given: stand_in)
    monkeypatch.setattr(strategies.simulation, "folded", lambda model: model)
    monkeypatch.setattr(strategies.simulation, "obstacle", lambda plain: "a layer")
    monkeypatch.setattr(strategies.tflite, "obstacle", lambda model, target: "")
    task = SimpleNamespace(input=SimpleNamespace(plural="images"))
    tiers = strategies.attempts("tflite-int8", task, None, lambda n: {"image": np.zeros(min(n, count))}, 200)
    return [attempt for tier in tiers for attempt in tier]


def test_the_rungs_without_a_simulation(monkeypatch):
    """More records where there are more, one operator in float before two, never all, and 16 bits at last."""
    found = ladder(monkeypatch, 500, 9)
    assert [attempt.strategy for attempt in found] == [
        "200 images", "500 images", "1 in float", "2 in float", "4 in float", "8 in float", "500 images"
    ]  # fmt: skip
    assert [attempt.target for attempt in found] == ["tflite-int8"] * 6 + ["tflite-int16x8"]
    assert found[3].float_layers == ("layer0", "layer1") and len(found[3].errors) == 9
    found = ladder(monkeypatch, 150, 2)
    assert [attempt.strategy for attempt in found] == ["150 images", "1 in float", "150 images"]


@pytest.mark.slow
def test_training_with_rounding_brings_an_int8_file_into_the_budget(trained, not_equalized, tmp_path, monkeypatch):
    directory, task, dataset = uneven_copy(trained, tmp_path / "uneven", 300)
    monkeypatch.setattr(strategies, "KEPT", ())
    options, told, before = Export(targets=("tflite-int8",), max_drop=1.5, qat_epochs=4), [], sha256(directory.model)
    with pytest.raises(ExportError, match="--qat-epochs"):
        monkeypatch.setattr(strategies, "INT16", "tflite-int8")  # which is no way out here
        exporting.export(directory, replace(options, qat_epochs=0), task, dataset)
    results = exporting.export(directory, options, task, dataset, told.append)
    assert [result.strategy for result in told] == [
        "200 images",
        "1000 images",
        strategies.EQUALIZED,
        "4 epochs of QAT",
    ]
    assert min(result.drop for result in told[:3]) > 1.5 and results[0].drop <= 1.5
    assert (results[0].speed.delegates, results[0].speed.ops_outside) == (1, {"QUANTIZE": 1})
    assert results[0].target == "tflite-int8"
    line = directory.read_exports()[0]
    assert line["simulation"]["agreement"] >= 0.995 and line["float_layers"] == []
    assert cnn_app.load_model(directory.path).get_layer("logits") and sha256(directory.model) == before


@pytest.mark.slow
def test_a_signal_ends_training_and_nothing_is_written(trained, not_equalized, tmp_path, monkeypatch):
    directory, task, dataset = uneven_copy(trained, tmp_path / "uneven", 300)
    monkeypatch.setattr(strategies, "KEPT", ())
    stop = Watch(step=lambda epoch, step, steps, logs: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        exporting.export(directory, Export(targets=("tflite-int8",), qat_epochs=3), task, dataset, watch=stop)
    assert sorted(path.name for path in directory.path.rglob("*")) == ["card.json", "model.keras"]


@pytest.mark.slow
def test_where_no_rung_fits_nothing_is_written_and_the_best_is_told(uneven, tmp_path, monkeypatch):
    directory, task, dataset = uneven
    copy = ModelDir(tmp_path / "copy")
    copy.path.mkdir()
    for file in (directory.model, directory.card):
        (copy.path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(strategies, "KEPT", (1,))
    monkeypatch.setattr(strategies, "INT16", "tflite-int8")
    with pytest.raises(ExportError, match=r"tflite-int8 loses \d+.\d+ points .* at best, in 5 ways, .*tflite-float16"):
        exporting.export(copy, Export(targets=("tflite-int8", "onnx"), max_drop=0.5), task, dataset)
    assert sorted(path.name for path in copy.path.rglob("*.*") if path.is_file() and path.suffix != ".json") == [
        "copy.golden.npz", "copy.onnx", "model.keras"
    ]  # fmt: skip
    assert [line["target"] for line in json.loads(copy.exports.read_text())] == ["onnx"]
