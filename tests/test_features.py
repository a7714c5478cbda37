"""Deep features, linear classifiers on them, ensembles, views and averages, against their definitions."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import cnn_app
from cnn_app.artifacts import ModelDir
from cnn_app.cli.main import cli
from cnn_app.data import pipeline
from cnn_app.errors import DataError, ModelError, UnknownName
from cnn_app.inputs.image import Image as Pixels
from cnn_app.inputs.views import views_of
from cnn_app.jobs import sources
from cnn_app.jobs.average import average
from cnn_app.jobs.evaluate import evaluate
from cnn_app.recipe import Data, Schedule
from cnn_app.runtimes import open_model
from cnn_app.tasks.classification import Classification
from cnn_app.transfer import features, linear


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two runs of one network that differ by their seeds, and one of another network."""
    root = tmp_path_factory.mktemp("store")
    for name, depths, seed in (("one", (1, 1, 1), 0), ("two", (1, 1, 1), 1), ("other", (1, 1), 0)):
        columns = {"depths": depths, "image": (16, 16, 3)}
        cnn_app.train(
            "resnet20", "digits", root / name, columns=columns, schedule=Schedule(epochs=1, batch=64, seed=seed)
        )
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The digits as PNG files in class folders, with train/ and val/ above them."""
    root = tmp_path_factory.mktemp("digits")
    dataset = Classification(input=Pixels((16, 16, 3))).load(Data(source="digits"))
    for name in ("train", "val"):
        split = dataset.splits[name]
        for i in range(60 if name == "val" else 200):
            place = root / name / f"d{split.targets['class'].array[i]}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(split.inputs["image"].array[i, ..., 0]).save(place / f"{i:03d}.png")
    return root


def call(*arguments):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.slow
def test_activations_of_a_layer_are_written_as_they_are(models, folder, tmp_path):
    """Maps of a stage for every image, in the order of names and labels; a test that is val comes once."""
    out = tmp_path / "maps.npz"
    printed = json.loads(
        call("features", models / "one", "--data", folder, "--layer", "stage2", "--out", out, "--json")
    )
    with np.load(out) as file:
        stored = dict(file)
    assert printed["n"] == 260 and stored["features"].shape == (260, 8, 8, 32) and printed["shape"] == [8, 8, 32]
    assert (stored["split"] == "train").sum() == 200 and (stored["split"] == "val").sum() == 60
    assert all(
        f"/{stored['classes'][label]}/" in name for label, name in zip(stored["labels"], stored["names"], strict=True)
    )
    model = cnn_app.load_model(models / "one")
    tap = features.tapped(model, "stage2")
    assert tap.output is model.get_layer("stage2_unit1_out").output
    with Image.open(folder / stored["names"][230]) as image:
        pixels = np.asarray(image.convert("RGB").resize((16, 16), Image.BILINEAR))
    np.testing.assert_allclose(stored["features"][230], tap.predict_on_batch(pixels[None])[0], atol=0.05)


@pytest.mark.slow
def test_a_linear_classifier_with_its_map_and_neighbours(models, folder, tmp_path):
    query = next((folder / "val" / "d0").iterdir())
    arguments = ("features", models / "one", "--data", folder, "--linear", "logistic", "--nearest", query)
    images = ("--project", tmp_path / "map.png", "--projection", "pca", "--sheet", tmp_path / "sheet.png")
    result = json.loads(call(*arguments, *images, "--json"))
    assert result["linear"]["n"] == 60 and result["linear"]["top1"] > 0.7 and result["linear"]["split"] == "val"
    nearest = result["nearest"]
    assert nearest[0]["cosine"] == pytest.approx(1, abs=1e-5) and query.name in nearest[0]["image"]
    cosines = [row["cosine"] for row in nearest]
    assert cosines == sorted(cosines, reverse=True) and nearest[1]["label"] == "d0"
    for name in ("map.png", "sheet.png"):
        with Image.open(tmp_path / name) as drawn:
            assert drawn.format == "PNG" and min(drawn.size) > 300
            assert len(np.unique(np.asarray(drawn.convert("RGB")).reshape(-1, 3), axis=0)) > 50
    text = call("features", models / "one", "--data", folder, "--linear", "svm")
    assert re.search(
        r"svm on 64 features: val \(no test split\) top-1 0\.\d{4} of 60; C \S+, cross-validated 0\.\d{4}", text
    )


def test_a_softmax_with_the_linear_classifier_decides_alike():
    """Two classes share one column, more have one each; scaling of the features is folded into the weights."""
    rng = np.random.default_rng(0)
    for classes in (2, 4):
        labels = np.arange(200) % classes
        vectors = rng.normal(0, 1, (200, 6)) * (1, 10, 100, 1, 1, 0) + 3 * np.eye(classes, 6)[labels] * 50
        found = linear.fit(vectors, labels, classes)
        weights, bias = linear.as_head(found)
        assert weights.shape == (6, classes) and (found.predict(vectors) == labels).mean() > 0.9
        np.testing.assert_array_equal((vectors @ weights + bias).argmax(1), found.predict(vectors))
    with pytest.raises(DataError, match="two training records of every class, received 1 of class 1"):
        linear.fit(vectors[:9], np.array([0] * 8 + [1]), 2)


def test_features_of_an_unknown_layer_name_near_ones(models):
    with pytest.raises(UnknownName, match="no layer or stage named 'stage9'; did you mean stage"):
        features.tapped(cnn_app.load_model(models / "one"), "stage9")


def held_out(path):
    """Inputs and places of the test split, as the model in `path` takes them."""
    inputs, targets = pipeline.gathered(sources.for_model(ModelDir(path), "digits")[1].splits["test"])
    return inputs, targets["class"]


@pytest.mark.slow
def test_an_ensemble_is_the_mean_of_its_members(models):
    """Also where the members have other orders of the labels."""
    paths = [models / "one", models / "two"]
    measured = evaluate(paths, "digits")
    inputs, classes = held_out(paths[0])
    found = [open_model(path).run(inputs)["probabilities"] for path in paths]
    for path, probabilities in zip(paths, found, strict=True):
        assert measured.reports[str(path)].top1 == (probabilities.argmax(1) == classes).mean()
    assert measured.ensemble.top1 == (np.mean(found, 0).argmax(1) == classes).mean() == measured.report.top1
    card = ModelDir(paths[1]).read_card()
    turned = models / "turned"
    model = cnn_app.load_model(paths[1])
    head = model.get_layer("logits")
    head.set_weights([weights[..., ::-1] for weights in head.get_weights()])
    ModelDir(turned).write_card(replace(card, labels=card.labels[::-1], digests={}))
    model.save(turned / "model.keras")
    again = evaluate([paths[0], turned], "digits")
    assert again.ensemble.top1 == measured.ensemble.top1
    np.testing.assert_array_equal(again.ensemble.confusion, measured.ensemble.confusion)


def test_views_are_the_ten_of_alexnet():
    views = views_of((224, 224, 3), ("flip", "crop"))
    assert views.size == (256, 256) and views.corners == ((0, 0), (0, 32), (32, 0), (32, 32), (16, 16)) and views.flip
    pixels = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 1)).astype(np.uint8)
    seen = list(views.of(pixels))
    assert len(seen) == 10 and all(window.shape == (2, 224, 224, 1) for window in seen)
    np.testing.assert_array_equal(seen[5], seen[0][:, :, ::-1])
    corners = [pixels[:, y, x] for y, x in views.corners] + [pixels[:, y, x + 223] for y, x in views.corners]
    for window, corner in zip(seen, corners, strict=True):
        np.testing.assert_array_equal(window[:, 0, 0], corner)


@pytest.mark.slow
def test_answers_are_averaged_over_views(models):
    """The image and its mirror image; for windows the records are read larger."""
    inputs, classes = held_out(models / "one")
    runtime = open_model(models / "one")
    both = [
        runtime.run({"image": pixels})["probabilities"] for pixels in (inputs["image"], inputs["image"][:, :, ::-1])
    ]
    found = evaluate(models / "one", "digits", tta=("flip",)).report
    expected = np.mean(both, 0)
    assert found.top1 == (expected.argmax(1) == classes).mean()
    assert found.loss == pytest.approx(-np.log(expected[np.arange(len(classes)), classes]).mean(), rel=1e-4)
    assert (
        evaluate(models / "one", "digits", tta=("crop",)).report.loss != evaluate(models / "one", "digits").report.loss
    )
    with pytest.raises(DataError, match="images for classification have no views by turn"):
        evaluate(models / "one", "digits", tta=("turn",))


@pytest.mark.slow
def test_an_average_is_the_mean_of_the_weights(models, tmp_path):
    out = tmp_path / "mean"
    printed = json.loads(call("average", models / "one", models / "two", "--out", out, "--json"))
    parts = [cnn_app.load_model(path).get_weights() for path in (models / "one", models / "two", out)]
    for one, two, mean in zip(*parts, strict=True):
        np.testing.assert_allclose(mean, (one.astype("f8") + two) / 2, rtol=1e-6, atol=1e-7)
    card = ModelDir(out).read_card()
    assert card.metrics["test"]["top1"] == printed[str(out)]["top1"] and len(card.recipe["average_of"]) == 2
    with pytest.raises(ModelError, match="another columns than"):
        average([models / "one", models / "other"], tmp_path / "none")
    with pytest.raises(ModelError, match="holds a model already"):
        average([models / "one"] * 2, out)
    assert not Path(tmp_path / "none").exists()


@pytest.mark.slow
def test_features_of_images_that_are_not_held_in_memory(models, monkeypatch):
    """Read again from their source, they give the same vectors."""
    tap = features.tapped(cnn_app.load_model(models / "one"))
    (task, held), (_, read) = (sources.for_model(ModelDir(models / "one"), None) for _ in "ab")
    assert all(split.inputs["image"].array is not None for split in held.splits.values())
    monkeypatch.setattr(pipeline, "MEMORY_SHARE", 0)
    assert all(split.inputs["image"].array is None for split in read.splits.values())
    ours, theirs = (features.extract(tap, task, dataset) for dataset in (held, read))
    np.testing.assert_array_equal(ours.names, theirs.names)
    np.testing.assert_allclose(ours.vectors, theirs.vectors, atol=1e-5)
