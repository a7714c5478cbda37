"""What is unlike the training data: distances by hand, the same from every door, foreign images told, val not."""

import json
import shutil
from dataclasses import asdict

import browsing
import numpy as np
import PIL.Image
import pytest
import served
import tensorflow as tf
from click.testing import CliRunner

import cnn_app
from cnn_app import runtimes
from cnn_app.artifacts import ModelDir
from cnn_app.cli.main import cli
from cnn_app.data import shapes
from cnn_app.errors import ArtifactError
from cnn_app.jobs import sources
from cnn_app.jobs.average import average
from cnn_app.names import FAMILIARITY
from cnn_app.recipe import Data, Export, Schedule
from cnn_app.runtimes import familiarity, open_model
from cnn_app.runtimes.familiarity import TOLD, Familiarity
from cnn_app.transfer import familiarity as fitting


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A network for digits, with a SavedModel and a .tflite, beside files of an own and a foreign image."""
    folder = tmp_path_factory.mktemp("familiarity")
    schedule = Schedule(epochs=4, batch=32, lr=0.004, augment=())
    columns = {"depths": (1, 1, 1), "image": (16, 16, 1)}
    cnn_app.train("resnet20", "digits", folder / "digits", columns=columns, schedule=schedule)
    cnn_app.export(folder / "digits", Export(targets=("saved_model", "tflite-float32"), max_drop=100))
    _, dataset = sources.for_model(ModelDir(folder / "digits"), "digits")
    own = dataset.splits["val"].inputs["image"].array[0, ..., 0]
    PIL.Image.fromarray(own).save(folder / "own.png")
    PIL.Image.fromarray(foreign(1)[0]).save(folder / "foreign.png")
    return folder


def foreign(count):
    """Drawn shapes, uint8 (n, 64, 64, 3)."""
    return shapes.load(Data(source="shapes")).splits["train"].inputs["image"].array[:count]


def grey(images):
    """As the network for digits takes them."""
    small = [PIL.Image.fromarray(image).convert("L").resize((16, 16)) for image in images]
    return np.stack([np.asarray(image) for image in small])[..., None]


def judged(runtime, images):
    return runtimes.familiarity_of(runtime, {"image": images})


def random_features(n=60, width=6, classes=3):
    rng = np.random.default_rng(0)
    strata = np.arange(n) % classes
    spread = rng.normal(size=(width, width))
    return (rng.normal(size=(n, width)) @ spread + 4 * rng.normal(size=(classes, width))[strata]), strata


@pytest.mark.parametrize("axes", [6, 2])
def test_distances_are_those_of_mahalanobis_by_hand(axes):
    given, strata = random_features()
    features = np.sign(given) * np.sqrt(np.abs(given))
    means = np.stack([features[strata == one].mean(0) for one in range(3)])
    inside = features - means[strata]
    covariance = inside.T @ inside / len(features)
    values, vectors = np.linalg.eigh(covariance + fitting.RIDGE * np.trace(covariance) / 6 * np.eye(6))
    values[: 6 - axes] = values[: 6 - axes].mean() if axes < 6 else values[: 6 - axes]
    inverse = vectors @ np.diag(1 / values) @ vectors.T
    asked = np.random.default_rng(1).normal(size=(20, 6)) * 5
    away = (np.sign(asked) * np.sqrt(np.abs(asked)))[:, None] - means
    by_hand = np.sqrt(np.einsum("ncd,de,nce->nc", away, inverse, away).min(1))
    known = fitting.gaussian(given, strata, axes)
    told = known.told(asked.astype(np.float32))
    np.testing.assert_allclose(told["distance"], by_hand, rtol=1e-4)
    assert known.axes.shape == (axes, 6) and not np.asarray(told["unlike"]).any()  # no threshold yet


def test_the_threshold_leaves_out_one_in_a_hundred_of_val():
    distances = np.arange(1, 401, dtype=float)[::-1]
    distances[0] = 1e9
    assert 396 <= fitting.threshold(distances) and (distances > fitting.threshold(distances)).sum() <= 4
    few = np.exp(np.array([0.0, 1.0, 2.0]))
    assert fitting.threshold(few) == pytest.approx(np.exp(1 + 2.33 * (4 / 3) ** 0.5))


@pytest.mark.slow
def test_foreign_images_are_told_and_held_out_ones_are_not(digits):
    runtime = open_model(digits / "digits")
    _, dataset = sources.for_model(ModelDir(digits / "digits"), "digits")
    shares = {}
    for name in ("val", "test"):
        shares[name] = judged(runtime, dataset.splits[name].inputs["image"].array)["unlike"].mean()
    found = judged(runtime, grey(foreign(100)))
    assert shares["val"] <= 0.01 and shares["test"] <= 0.05
    assert found["unlike"].mean() > 0.9 and (found["distance"] > found["threshold"]).mean() == found["unlike"].mean()


def test_a_saved_model_says_what_keras_says(digits):
    images = np.concatenate([grey(foreign(6)), np.asarray(PIL.Image.open(digits / "own.png"))[None, ..., None]])
    saved = digits / "digits/serving/1"
    ours, theirs = (judged(open_model(place), images) for place in (digits / "digits", saved))
    signatures = tf.saved_model.load(str(saved)).signatures
    files = [tf.io.encode_png(image).numpy() for image in images]
    encoded = signatures[f"image_bytes_{FAMILIARITY}"](image_bytes=tf.constant(files))
    assert set(ours) == set(theirs) == set(encoded) == set(TOLD)
    assert ours["unlike"].tolist() == [True] * 6 + [False]
    for name in TOLD:
        np.testing.assert_allclose(theirs[name], ours[name], rtol=1e-3)
        np.testing.assert_allclose(encoded[name], ours[name], rtol=1e-3)
    assert set(signatures["serving_default"].structured_outputs) == {"probabilities", "classes", "scores"}
    assert set(signatures["features"].structured_outputs) == {"features"}


@pytest.mark.parametrize("place", ["digits", "digits/serving/1"])
def test_predict_tells_it(digits, place):
    def printed(*more):
        places = (digits / place, digits / "own.png", digits / "foreign.png")
        result = CliRunner().invoke(cli, ["predict", *map(str, places), "--top", "1", *more])
        assert result.exit_code == 0, result.output
        return result.stdout

    own, other = printed().splitlines()
    assert other.startswith(f"{digits / 'foreign.png'}: ") and other.endswith("  (unlike the training data)")
    assert "unlike" not in own
    own, other = json.loads(printed("--json"))
    assert (own["unlike"], other["unlike"]) == (False, True)
    assert own["distance"] <= own["threshold"] == other["threshold"] < other["distance"]
    printed("--out", str(digits / "answers.csv"))
    assert (digits / "answers.csv").read_text().splitlines()[0] == "image,unlike,distance,threshold,label1,probability1"


@pytest.mark.parametrize("place", ["digits/mobile/digits-float32.tflite", "digits/model.keras"])
def test_what_knows_nothing_says_nothing(digits, place):
    (found,) = cnn_app.predict(digits / place, digits / "foreign.png")
    assert set(found.answer) == {"top"}


@pytest.mark.slow
def test_a_directory_without_it_or_with_that_of_another_model_is_silent(digits, tmp_path):
    shutil.copytree(digits / "digits", tmp_path / "digits")
    directory = ModelDir(tmp_path / "digits")
    known = familiarity.read(directory)
    familiarity.write(directory, known, "0" * 64)  # as a run leaves it that was killed
    assert familiarity.read(directory) is None
    assert set(cnn_app.predict(directory.path, digits / "foreign.png")[0].answer) == {"top"}
    familiarity.write(directory, None, "")
    assert not directory.familiarity.exists()
    shutil.rmtree(directory.serving)
    cnn_app.export(directory.path, Export(targets=("saved_model",), max_drop=100))
    assert not [name for name in tf.saved_model.load(str(directory.serving / "1")).signatures if FAMILIARITY in name]
    assert set(cnn_app.predict(directory.serving / "1", digits / "foreign.png")[0].answer) == {"top"}


def test_a_damaged_file_is_named(digits, tmp_path):
    (tmp_path / "card.json").write_bytes((digits / "digits/card.json").read_bytes())
    directory = ModelDir(tmp_path)
    known, digest = familiarity.read(ModelDir(digits / "digits")), directory.read_card().digests["model.keras"]
    wrong = (
        asdict(known) | {"axes": known.axes[:, 1:]},
        asdict(known) | {"threshold": np.float32(np.nan)},
        asdict(known) | {"rest": np.float32(0)},
        asdict(known) | {"means": known.means[:0]},
        asdict(known) | {"centre": np.array([object()])},
    )
    for values in wrong:
        familiarity.write(directory, Familiarity(**values), digest)
        with pytest.raises(ArtifactError, match="familiarity.npz is damaged: .*copy it again"):
            familiarity.read(directory)
    for data in (b"", b"PK damaged", directory.familiarity.read_bytes()[:100]):
        directory.familiarity.write_bytes(data)
        with pytest.raises(ArtifactError, match="familiarity.npz is damaged"):
            familiarity.read(directory)


@pytest.mark.slow
def test_averages_and_models_for_several_labels_know_their_data(digits, tmp_path):
    shutil.copytree(digits / "digits", tmp_path / "one")
    average([tmp_path / "one", digits / "digits"], tmp_path / "mean", "digits")
    assert cnn_app.predict(tmp_path / "mean", digits / "foreign.png")[0].answer["unlike"]
    schedule = Schedule(epochs=1, batch=64, augment=())
    cnn_app.train("lenet5", "shapes:many", tmp_path / "many", columns={"image": (32, 32, 3)},
                  task={"name": "multilabel"}, schedule=schedule)  # fmt: skip
    assert set(TOLD) < set(cnn_app.predict(tmp_path / "many", digits / "foreign.png")[0].answer)


@pytest.mark.slow
@browsing.needs_chromium
def test_the_page_marks_an_unlike_image(digits, browser):
    """In words under the answer, and in the strip of several."""
    files = {name: (digits / name).read_bytes() for name in ("own.png", "foreign.png")}
    (place,) = (digits / "digits" / "serving").iterdir()
    with served.running(place) as found:
        browsing.visit(browser, found.rest)
        browsing.give_all(browser, files)
        browsing.wait(browser, lambda: browsing.find(browser, "#told").text == "2 images: 2 answered.")
        marked = browser.execute_script(
            "return [...document.querySelectorAll('.thumb')].map((one) => !!one.querySelector('.unlike'))"
        )
        assert marked == [False, True]
        told = browsing.find(browser, "#unlike")
        assert not told.is_displayed()
        browser.find_elements("css selector", ".thumb")[1].click()
        browsing.wait(browser, told.is_displayed)
