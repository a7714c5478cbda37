"""The public functions: arrays and files in, model directories, measures and answers out."""

import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image

import cnn_app
from cnn_app import tasks
from cnn_app.artifacts import ModelDir
from cnn_app.cli.main import cli
from cnn_app.data import pipeline
from cnn_app.errors import ArtifactError, DataError, ModelError, RecipeError, TrainingError
from cnn_app.export import run as exporting
from cnn_app.recipe import Data, Export, Recipe, Schedule
from cnn_app.runtimes import open_model

LABELS = ("dark", "grey", "light")
CLASSES = np.arange(96) % 3
IMAGES = (CLASSES[:, None, None, None] * 90 + np.random.default_rng(0).integers(0, 40, (96, 32, 32, 1))).astype("uint8")
PARTS = {"train": slice(0, 60), "val": slice(60, 75), "test": slice(75, 96)}
RECORDS = cnn_app.data.arrays({name: (IMAGES[part], CLASSES[part]) for name, part in PARTS.items()}, LABELS)
SCHEDULE = Schedule(epochs=4, batch=16, lr=0.003, augment=())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "shades"
    cnn_app.train("lenet5", RECORDS, path, schedule=SCHEDULE)
    return path


def best(predictions):
    return [found.answer["top"][0]["label"] for found in predictions]


def png(image):
    stream = io.BytesIO()
    Image.fromarray(image[..., 0]).save(stream, "PNG")
    return stream.getvalue()


def test_public_names_are_what_they_are_whatever_was_imported():
    """A package of the same name would take a function's place once it is imported."""
    for name in cnn_app.__all__:
        assert callable(getattr(cnn_app, name)), name
    for name in ("data", "delivery", "recipe", "runtimes", "serving", "tasks", "transfer"):
        assert isinstance(getattr(cnn_app, name), ModuleType), name
    with pytest.raises(AttributeError, match="module 'cnn_app' has no attribute 'trian'"):
        cnn_app.trian  # noqa: B018


@pytest.mark.slow
def test_attributes_are_there_without_an_import_of_theirs():
    code = "import cnn_app; print(cnn_app.train.__module__, cnn_app.data.arrays.__name__, cnn_app.recipe.Data.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cnn_app.jobs.train", "arrays", "Data"]


# Train


@pytest.mark.slow
def test_arrays_train_a_network(trained):
    card = ModelDir(trained).read_card()
    assert card.labels == LABELS and card.metrics["test"]["top1"] == 1.0 and card.metrics["test"]["n"] == 21
    assert card.data["source"] == "arrays" and card.data["counts"] == {"train": 60, "val": 15, "test": 21}
    assert card.columns == {"classes": 3, "image": (32, 32, 1)}


def test_splits_that_arrays_lack_are_divided_off(tmp_path):
    data = cnn_app.data.arrays({"train": (IMAGES, CLASSES)}, LABELS)
    card = cnn_app.train("lenet5", data, tmp_path / "out", schedule=replace(SCHEDULE, epochs=1))
    counts = card.data["counts"]
    assert sum(counts.values()) == 96 and min(counts.values()) > 3 and counts["train"] > 48


@pytest.mark.parametrize(
    "data, message",
    [
        (
            cnn_app.data.arrays({"train": (IMAGES, CLASSES)}, LABELS, input="sound"),
            "arrays has sound, class; image and",
        ),
        (cnn_app.data.arrays({"train": (IMAGES, CLASSES)}, LABELS, target="mask"), "arrays has image, mask; image and"),
        (cnn_app.data.arrays({"train": (IMAGES, CLASSES)}, (*LABELS, "white")), "train has nothing of white"),
        (cnn_app.data.arrays({"train": (IMAGES, CLASSES * 0)}, LABELS[:1]), "has one class only"),
        ("", "no data at ''"),
    ],
    ids="no-image no-class empty-class one-class nothing".split(),
)
def test_arrays_that_are_no_data(tmp_path, data, message):
    with pytest.raises(DataError, match=message):
        cnn_app.train("lenet5", data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_model_goes_on_to_other_classes(trained, tmp_path):
    data = cnn_app.data.arrays({"train": (IMAGES, CLASSES // 2)}, ("dark", "light"))
    card = cnn_app.finetune(trained, data, tmp_path / "two", schedule=replace(SCHEDULE, epochs=1))
    assert card.labels == ("dark", "light") and card.metrics["test"]["top1"] > 0.9
    assert card.recipe["transfer"]["weights"] == str(trained)


# Evaluate


def test_files_and_networks_are_measured_alike(trained):
    model = cnn_app.load_model(trained)
    expected = open_model(trained).run({"image": IMAGES[PARTS["test"]]})["probabilities"]
    for artifact in (trained, str(trained), trained / "model.keras", model):
        found = cnn_app.evaluate(artifact, RECORDS)
        assert found.ensemble is None and found.report.n == 21 and found.task.labels == LABELS
        classes = CLASSES[PARTS["test"]]
        assert found.report.loss == pytest.approx(-np.log(expected[np.arange(21), classes]).mean(), rel=1e-4)
    assert cnn_app.evaluate(model, RECORDS, "val").report.n == 15


def test_networks_of_one_name_have_reports_of_their_own(trained):
    found = cnn_app.evaluate([cnn_app.load_model(trained) for _ in range(3)], RECORDS)
    assert list(found.reports) == ["lenet5", "lenet5 (2)", "lenet5 (3)"]
    assert found.ensemble.loss == pytest.approx(found.reports["lenet5"].loss)


def test_a_network_without_labels_needs_them(trained, tmp_path):
    """One that was built here, and a file that others wrote."""
    model = cnn_app.create_model("lenet5", classes=3)
    model.set_weights(cnn_app.load_model(trained).get_weights())
    model.save(tmp_path / "theirs.keras")
    assert cnn_app.load_model(tmp_path / "theirs.keras").about is None
    for artifact in (model, tmp_path / "theirs.keras"):
        assert cnn_app.evaluate(artifact, RECORDS, labels=LABELS).report.top1 == 1.0
        assert cnn_app.evaluate(artifact, RECORDS, labels=LABELS[::-1]).report.top1 < 0.5
        with pytest.raises(ModelError, match="has no labels inside.*--labels FILE"):
            cnn_app.evaluate(artifact, RECORDS)
        with pytest.raises(ModelError, match="has 3 outputs and 2 labels"):
            cnn_app.evaluate(artifact, RECORDS, labels=LABELS[:2])
        assert best(cnn_app.predict(artifact, IMAGES[:3])) == ["0", "1", "2"]


# Predict


@pytest.mark.parametrize("as_model", [False, True], ids=["directory", "network"])
def test_arrays_are_answered(trained, as_model):
    found = cnn_app.predict(cnn_app.load_model(trained) if as_model else trained, IMAGES[:6], top=2)
    assert best(found) == [LABELS[place] for place in CLASSES[:6]]
    assert [one.name for one in found] == list("012345") and all(one.error is None for one in found)
    assert len(found[0].answer["top"]) == 2 and found[0].outputs["probabilities"].shape == (3,)
    np.testing.assert_array_equal(found[3].record["image"], IMAGES[3])


def test_arrays_that_do_not_fit_are_told(trained):
    found = cnn_app.predict(trained, np.zeros((2, 28, 28, 1), np.uint8))
    assert [str(one.error) for one in found] == [
        f"record {i} has the shape (28, 28, 1); the network takes image uint8 (n, 32, 32, 1)" for i in range(2)
    ]
    assert all(one.answer is None for one in found)


def test_a_bad_file_does_not_stop_the_others(trained, tmp_path):
    (tmp_path / "0.png").write_bytes(png(IMAGES[0]))
    (tmp_path / "1.png").write_bytes(b"no image")
    (tmp_path / "2.png").write_bytes(png(IMAGES[2]))
    places = [tmp_path / "0.png", tmp_path / "absent.png", tmp_path / "1.png", "-", str(tmp_path / "2.png")]
    first, absent, bad, piped, last = cnn_app.predict(trained, places, stdin=io.BytesIO(png(IMAGES[1])))
    assert best([first, piped, last]) == list(LABELS) and piped.name == "-" and last.name == str(tmp_path / "2.png")
    assert "cannot read" in str(absent.error) and "No such file" in str(absent.error)
    assert "1.png: it is no JPEG" in str(bad.error) and bad.answer is None
    folder = cnn_app.predict(trained, tmp_path)
    assert [one.error is None for one in folder] == [True, False, True]
    assert best(cnn_app.predict(trained, str(tmp_path / "2.png"))) == ["light"]


# What a file says of itself


def test_labels_go_where_the_file_goes(trained, tmp_path):
    alone = shutil.copy(trained / "model.keras", tmp_path / "elsewhere.keras")
    for path in (trained, trained / "model.keras", alone):
        about = cnn_app.load_model(path).about
        assert (about.task, about.labels, about.name) == ("classification", LABELS, "shades")
        assert about.input == {"kind": "image", "image": [32, 32, 1]}
        assert tasks.of(open_model(path)).labels == LABELS
        assert best(cnn_app.predict(path, IMAGES[:3])) == list(LABELS)


def test_a_card_beside_a_file_is_never_asked(trained, tmp_path):
    """A file that was copied into the folder of another model is what it says itself."""
    other = ModelDir(tmp_path / "other")
    other.write_card(replace(ModelDir(trained).read_card(), labels=("a", "b", "c"), digests={}))
    shutil.copy(trained / "model.keras", other.path / "mine.keras")
    assert best(cnn_app.predict(other.path / "mine.keras", IMAGES[:3])) == list(LABELS)


# Reading


@pytest.fixture
def read(monkeypatch):
    """Names of the splits that are converted, in that order."""
    found, convert = [], pipeline.convert_split

    def spy(split, *others):
        found.append(split.names[0].split("-")[0])
        return convert(split, *others)

    monkeypatch.setattr(pipeline, "convert_split", spy)
    return found


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_evaluation_reads_one_split_once(trained, read, split):
    cnn_app.evaluate([trained, trained / "model.keras"], RECORDS, split)
    assert read == [split]


@pytest.mark.parametrize(
    ("target", "splits"), [("tflite-float32", {"test"}), ("tflite-int8", {"train", "val", "test"})]
)
def test_export_reads_each_split_once_for_what_it_is_for(trained, tmp_path, monkeypatch, read, target, splits):
    monkeypatch.setattr(exporting, "timed", lambda path: None)
    copy = shutil.copytree(trained, tmp_path / "copy")
    (result,) = cnn_app.export(copy, (target,), RECORDS)
    assert set(read) == splits and len(read) == len(splits)
    assert result.target == target and result.n == 21
    with pytest.raises(DataError, match="does not name the data it was trained on; give --data"):
        cnn_app.export(copy, (target,), force=True)


@pytest.mark.slow
def test_training_tells_of_bad_records_of_all_splits_first(tmp_path):
    for i, image in enumerate(IMAGES[:24]):
        place = tmp_path / ("test" if i > 17 else "train") / LABELS[CLASSES[i]] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png(image) if i != 20 else b"")
    with pytest.raises(DataError, match="cannot read test/light/20.png: the file is empty"):
        cnn_app.train("lenet5", str(tmp_path), tmp_path / "out", schedule=SCHEDULE)
    assert not (tmp_path / "out").exists()


# Recipes


@pytest.mark.slow
def test_a_recipe_is_carried_out_once(tmp_path):
    recipe = Recipe(name="tiny", model={"name": "lenet5"}, data=Data(source="digits"), acceptance={"top1": 0.2},
                    schedule=Schedule(epochs=1, batch=64, lr=0.003))  # fmt: skip
    card = cnn_app.run(recipe, tmp_path)
    assert card.metrics == ModelDir(tmp_path / "tiny").read_card().metrics and card.metrics["test"]["top1"] > 0.2
    with pytest.raises(TrainingError, match="holds a model already; --resume"):
        cnn_app.run(recipe, tmp_path)
    with pytest.raises(TrainingError, match=r"tiny reached test top-1 0\.\d{4}; its recipe asks for 0.999"):
        cnn_app.run(replace(recipe, acceptance={"top1": 0.999}), tmp_path, overwrite=True)
    with pytest.raises(TrainingError, match=r"tiny reached test loss \(nats\) \d\.\d{4}; its recipe asks for 0.001"):
        cnn_app.run(replace(recipe, acceptance={"loss": 0.001}), tmp_path, overwrite=True)
    with pytest.raises(RecipeError, match="no metric of .acceptance. named 'recall'"):
        cnn_app.run(replace(recipe, acceptance={"recall": 0.1}), tmp_path, overwrite=True)


@pytest.fixture(scope="module")
def cropping(tmp_path_factory):
    """A model that crops, with all its files."""
    path = tmp_path_factory.mktemp("store") / "cropping"
    columns = {"resize": "crop", "crop_share": 0.5}
    cnn_app.train("lenet5", RECORDS, path, columns=columns, schedule=replace(SCHEDULE, epochs=1))
    cnn_app.export(path, Export(targets=("saved_model", "tflite-int8", "onnx"), max_drop=100), RECORDS)
    return ModelDir(path)


@pytest.mark.slow
def test_every_file_brings_images_to_its_size_as_the_model_does(cropping, tmp_path):
    """A dark image with a bright middle, of which a model that crops sees the middle alone."""
    pixels = np.zeros((40, 120, 3), np.uint8)
    pixels[6:34, 46:74] = 255
    Image.fromarray(pixels).save(tmp_path / "middle.png")
    files = (cropping.path, cropping.model, cropping.serving / "1", cropping.mobile / "cropping-int8.tflite",
             cropping.onnx / "cropping.onnx")  # fmt: skip
    for file in files:
        (found,) = cnn_app.predict(file, [tmp_path / "middle.png"])
        np.testing.assert_array_equal(found.record["image"], np.full((32, 32, 1), 255, np.uint8))
    signature = open_model(cropping.serving / "1")._keep.signatures["image_bytes"]
    served = signature(image_bytes=tf.constant([(tmp_path / "middle.png").read_bytes()]))["probabilities"]
    runtime = open_model(cropping.serving / "1")
    wanted = runtime.run({"image": np.full((1, 32, 32, 1), 255, np.uint8)})["probabilities"]
    np.testing.assert_allclose(served, wanted, atol=1e-6)


def test_a_measure_may_resize_otherwise_and_says_so(cropping, tmp_path):
    for split in ("train", "val"):
        for label, middle in (("dark", 0), ("light", 255), ("grey", 120)):
            pixels = np.full((40, 40), 128, np.uint8)
            pixels[10:30, 10:30] = middle
            (tmp_path / split / label).mkdir(parents=True)
            Image.fromarray(pixels).save(tmp_path / split / label / "0.png")
    own, other = (
        cnn_app.evaluate(cropping.path, str(tmp_path), "val", resize=resize) for resize in ("crop", "stretch")
    )
    assert (own.resized, other.resized) == ("", "stretch") and own.report.metrics["loss"] != other.report.metrics[
        "loss"
    ]
    arguments = ["evaluate", str(cropping.path), "--data", str(tmp_path), "--split", "val", "--resize", "pad"]
    told = CliRunner().invoke(cli, arguments)
    assert "images brought to the network's size by pad, which is not the model's own way" in told.output
    assert json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).stdout)["resize"] == "pad"


def test_a_card_and_a_file_that_disagree_on_the_resize(cropping, tmp_path):
    shutil.copytree(cropping.path, tmp_path / "copy")
    copy = ModelDir(tmp_path / "copy")
    card = copy.read_card()
    copy.write_card(replace(card, input=card.input | {"resize": "pad"}))
    with pytest.raises(
        ArtifactError, match=r"card.json and model.keras say different things of resize of the input; put"
    ):
        cnn_app.predict(copy.path, IMAGES[:1])
    for wrong in ({"resize": "squeeze"}, {"resize": "crop", "crop_share": 0}, {"resize": "crop", "crop_share": "half"}):
        facts = {"task": "classification", "labels": list(LABELS), "input": card.input | wrong}
        with pytest.raises(
            ArtifactError, match="resizes images by stretch, crop, pad, received 'squeeze'|needs a crop_share"
        ):
            tasks.of_facts(facts)
