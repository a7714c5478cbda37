"""Any number of labels for an image: tables and what is refused, losses and metrics, thresholds, a model everywhere."""

import csv
import json

import keras
import numpy as np
import pytest
import served
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image as Picture
from sklearn.metrics import average_precision_score, f1_score, log_loss, precision_recall_fscore_support

import cnn_app
from cnn_app import data as sources
from cnn_app import tasks
from cnn_app.artifacts import ModelDir
from cnn_app.cli.main import cli
from cnn_app.data.dataset import Split, in_memory
from cnn_app.errors import ArtifactError, CnnAppError, DataError, ModelError, RecipeError
from cnn_app.export import golden
from cnn_app.inputs import pixels
from cnn_app.inputs.image import Image
from cnn_app.jobs import run as recipes
from cnn_app.recipe import Data, Recipe, Schedule
from cnn_app.runtimes import open_model
from cnn_app.runtimes.keras_model import KerasRuntime, about_of
from cnn_app.serving import Client
from cnn_app.tasks.multilabel import Multilabel
from cnn_app.tasks.multilabel_report import Report
from cnn_app.tasks.probabilities import AUXILIARY_WEIGHT
from cnn_app.training.engine import Watch
from cnn_app.transfer import transferability

SIDE = 32
LABELS = ("left", "right", "top")
TASK = Multilabel(input=Image((16, 16, 3)), labels=("cat", "dog", "fox"))
ENGINES = ("saved_model", "onnx", "tflite-float32")


def invoked(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


# --- labels.csv


def folder(place, files, tables):
    """Grey images, and tables of text or bytes."""
    for i, name in enumerate(files):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        Picture.new("RGB", (16, 16), (i, i, i)).save(place / name)
    for name, text in tables.items():
        (place / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return place


SPLIT = ("train/a.png", "train/b.png", "train/in/c.png", "val/d.png")
IN_ONE = "file,labels\ntrain/a.png,cat|dog\nval/d.png,\ntrain/b.png,dog\ntrain/in/c.png, fox | cat \n"
LAYOUTS = {
    "a table on top": {"labels.csv": IN_ONE},
    "a table in each": {"train/labels.csv": "file,labels\na.png,cat|dog\nb.png,dog\n./in/c.png,fox|cat\n",
                        "val/labels.csv": "note,labels,file\nx,,d.png\n"},
    "columns of classes": {"train/labels.csv": "file,cat,dog,fox\na.png,1,1,0\nb.png,0,1,0\nin/c.png,1,0,1\n",
                           "val/labels.csv": "dog,cat,fox,file\r\n0,0,0,d.png\r\n"},
    "with a mark of bytes": {"labels.csv": b"\xef\xbb\xbf" + IN_ONE.encode()},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tables_become_a_matrix(tmp_path, layout):
    place = folder(tmp_path, SPLIT, LAYOUTS[layout])
    found = TASK.load(Data(source=str(place)))
    rows = {name: row.tolist() for split in found.distinct().values()
            for name, row in zip(split.names, split.targets["labels"].array, strict=True)}  # fmt: skip
    assert found.labels == ("cat", "dog", "fox") and found.counts() == {"train": 3, "val": 1, "test": 1}
    assert rows == {"train/a.png": [1, 1, 0], "train/b.png": [0, 1, 0], "train/in/c.png": [1, 0, 1],
                    "val/d.png": [0, 0, 0]}  # fmt: skip
    for name, split in found.distinct().items():
        for i, record in enumerate(split.names):
            wanted = np.asarray(Picture.open(place / record))
            np.testing.assert_array_equal(pixels.decode(split.inputs["image"].read(i)), wanted, err_msg=name)


def test_a_table_may_be_named_and_is_divided(tmp_path):
    names = [f"{i}.png" for i in range(40)]
    text = "file,labels\n" + "".join(f"{name},{'cat|dog' if i % 2 else ''}\n" for i, name in enumerate(names))
    folder(tmp_path, names, {"mine.csv": text})
    found = TASK.load(Data(source=str(tmp_path / "mine.csv")))
    assert sum(found.counts().values()) == 40 and found.labels == ("cat", "dog")
    for split in found.splits.values():
        assert [int(name.split(".")[0]) % 2 for name in split.names] == split.targets["labels"].array[:, 0].tolist()


GOOD = "file,labels\na.png,cat\n"
BROKEN = {
    "a file that is not there": (GOOD + "x.png,cat\n", "labels.csv:3: there is no file x.png in"),
    "a file twice": (GOOD + "b.png,\n./a.png,dog\n", "labels.csv:4 has the file ./a.png of line 2 again"),
    "a file elsewhere": (GOOD + "../a.png,cat\n", "labels.csv:3 names the file '../a.png'; a path inside the folder"),
    "a path from the root": (GOOD + "/etc/passwd,cat\n", "labels.csv:3 names the file '/etc/passwd'"),
    "no file": (GOOD + ",cat\n", "labels.csv:3 names the file ''"),
    "an empty label": (GOOD + "b.png,cat||dog\n", "labels.csv:3 has an empty label; labels stand between '|'"),
    "a label of two lines": (GOOD + 'b.png,"cat\ndog"\n', "labels.csv:4 has the label 'cat\\ndog', which cannot be"),
    "an empty row": (GOOD + "\nb.png,dog\n", "labels.csv:3 is empty; remove the line"),
    "a row of nothing": (GOOD + ",\n", "labels.csv:3 is empty; remove the line"),
    "a cell too much": (GOOD + "b.png,dog,\n", "labels.csv:3 has 3 cells, the header 2"),
    "a missing column": ("name,labels\na.png,cat\n", "labels.csv:1 has the columns name, labels; file and labels are"),
    "one column": ("file\na.png\n", "labels.csv:1 has the columns file; file and labels are needed"),
    "nothing": ("", "labels.csv:1 has no columns"),
    "a header alone": ("file,labels\n", "labels.csv has no images; add a line for each"),
    "a column twice": ("file,cat,cat\na.png,1,0\n", "labels.csv:1 has the column 'cat' twice"),
    "a class without a name": ("file,cat,\na.png,1,0\n", "labels.csv:1 has an empty label"),
    "neither 0 nor 1": ("file,cat,dog\na.png,1,0\nb.png,yes,0\n", "labels.csv:3 has 'yes' for cat; 0 or 1 is needed"),
    "not UTF-8": (GOOD.encode() + b"b.png,\xff\n", "labels.csv:3 is not utf-8; --encoding names another"),
    "no CSV": (GOOD + f'b.png,"{"x" * 200_000}"\n', "labels.csv:3 is no CSV: field larger than field limit"),
    "no label at all": ("file,labels\na.png,\n", "has no label at all; one or more are needed"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_in_a_table_is_told_by_its_line(tmp_path, case):
    text, told = BROKEN[case]
    folder(tmp_path, ("a.png", "b.png"), {"labels.csv": text})
    with pytest.raises(DataError) as error:
        TASK.load(Data(source=str(tmp_path)))
    assert told in str(error.value) and "\n" not in str(error.value)


SPLITS_BROKEN = {
    "an unknown label": ({"labels.csv": IN_ONE.replace("val/d.png,", "val/d.png,cta")},
                         "labels.csv:3 has the label 'cta', which train lacks"),
    "an unknown column": ({"train/labels.csv": "file,cat\na.png,1\n", "val/labels.csv": "file,dog\nd.png,1\n"},
                          "val/labels.csv:1 has the label 'dog', which train lacks"),
    "a table less": ({"train/labels.csv": "file,labels\na.png,cat\n"}, "val has no labels.csv; it has the columns"),
    "a file outside": ({"labels.csv": IN_ONE + "e.png,cat\n"}, "labels.csv:6: e.png lies outside of train/ val/"),
    "no train": ({"labels.csv": "file,labels\nval/d.png,cat\n"}, "has files in val but none in train/; add some"),
    "a class of no image": ({"train/labels.csv": "file,cat,dog\na.png,1,0\n", "val/labels.csv": "file,dog\nd.png,1\n"},
                            "train has nothing of dog; add some or remove the label"),
}  # fmt: skip


@pytest.mark.parametrize("case", SPLITS_BROKEN)
def test_splits_fit_each_other(tmp_path, case):
    files, told = SPLITS_BROKEN[case]
    with pytest.raises(DataError) as error:
        TASK.load(Data(source=str(folder(tmp_path, (*SPLIT, "e.png"), files))))
    assert told in str(error.value)


def test_a_table_is_bounded(tmp_path, monkeypatch):
    from cnn_app.inputs import files
    from cnn_app.tasks import label_tables

    folder(tmp_path, SPLIT, {"labels.csv": IN_ONE})
    for module, name, value, told in (
        (label_tables, "MAX_CLASSES", 2, "has 3 labels; 2 are the most"),
        (label_tables, "MAX_CELLS", 8, "3 records with 3 labels are more than fit"),
    ):
        with monkeypatch.context() as patch, pytest.raises(DataError, match=told):
            patch.setattr(module, name, value)
            TASK.load(Data(source=str(tmp_path)))
    with pytest.raises(DataError, match="is larger than 0 MiB"):
        files.text(tmp_path / "labels.csv", "utf-8", 10)


def test_arrays_and_other_sources_are_checked():
    images = np.zeros((4, 16, 16, 3), np.uint8)

    def given(array, target="labels"):
        return sources.arrays({"train": (images, array), "val": (images, array)}, ("a", "b"), target=target)

    for array in (np.eye(4, 2, dtype=bool), np.eye(4, 2, dtype=np.int64)):
        column = TASK.load(given(array)).splits["train"].targets["labels"]
        assert column.array.dtype == np.uint8 and column.array.tolist() == array.astype(int).tolist()
    for array in (np.eye(4, 3, dtype=np.uint8), 2 * np.eye(4, 2, dtype=np.uint8), np.eye(4, 2)):
        with pytest.raises(DataError, match=r"labels are 0 or 1 in \(n, 2\), received"):
            TASK.load(given(array))
    with pytest.raises(DataError, match="digits has image, class; image and labels are needed"):
        TASK.load(Data(source="digits"))
    with pytest.raises(DataError, match="shapes:many has image, labels; image and class are needed"):
        tasks.named("classification")(input=TASK.input).load(Data(source="shapes:many"))
    with pytest.raises(DataError, match="no data at 'shapes:few'"):
        TASK.load(Data(source="shapes:few"))


@pytest.mark.slow
def test_drawn_images_hold_what_their_names_say():
    found = TASK.load(Data(source="shapes:many"))
    for split in found.splits.values():
        told = [set(name.rpartition("-")[0].split("+")) for name in split.names]
        there = split.targets["labels"].array
        assert told == [{found.labels[i] for i in np.flatnonzero(row)} for row in there]
        assert set(there.sum(1)) == {1, 2, 3}
    again = TASK.load(Data(source="shapes:many"))
    assert again.fingerprint() == found.fingerprint() and sum(found.counts().values()) == 2000


def test_labels_follow_the_models_order_and_strata_are_the_rarest():
    there = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]], np.uint8)
    images = np.zeros((4, 16, 16, 3), np.uint8)
    dataset = TASK.load(sources.arrays({"train": (images, there), "val": (images, there)}, ("a", "b", "c"),
                                       target="labels"))  # fmt: skip
    assert TASK.strata(dataset.splits["train"]).tolist() == [1, 0, 3, 2]
    moved = TASK.in_order(dataset, ("c", "a", "b")).splits["train"].targets["labels"].array
    assert moved.tolist() == there[:, [2, 0, 1]].tolist()


# --- losses and augmentation


def objective(loss, there, **schedule):
    split = Split([str(i) for i in range(len(there))], {}, {"labels": in_memory(there)})
    return Multilabel(input=TASK.input, labels=TASK.labels, loss=loss).objective(Schedule(**schedule), split)


def by_numpy(logits, shares, loss, weights):
    """Of one record, label by label; arXiv:2009.14119, equations 4 to 7, with 4, 1 and 0.05."""
    total = 0.0
    for logit, share, weight in zip(logits.astype(np.float64), shares, weights, strict=True):
        p = 1 / (1 + np.exp(-logit))
        shifted = max(p - 0.05, 0)
        positive, negative = {"bce": (np.log(p), np.log(1 - p)),
                              "asymmetric": ((1 - p) * np.log(p), shifted**4 * np.log(1 - shifted))}[loss]  # fmt: skip
        total -= share * weight * positive + (1 - share) * negative
    return total / len(logits)


@pytest.mark.parametrize("loss", ["bce", "asymmetric"])
@pytest.mark.parametrize(("balanced", "smooth"), [("none", 0.0), ("balanced", 0.0), ("balanced", 0.2)])
def test_losses_are_those_of_the_papers(loss, balanced, smooth):
    rng = np.random.default_rng(0)
    there = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1], [0, 0, 0]], np.uint8)
    logits = rng.normal(0, 3, (4, 3)).astype(np.float32)
    found = objective(loss, there, class_weights=balanced, label_smoothing=smooth)(
        tf.constant(logits), {"labels": tf.constant(there, tf.float32)}
    )
    weights = (1 / 3, 3, 3) if balanced == "balanced" else (1, 1, 1)  # without the label to with it
    shares = there * (1 - smooth) + smooth / 2
    wanted = [by_numpy(*pair, loss, weights) for pair in zip(logits, shares, strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize("loss", ["bce", "asymmetric"])
def test_losses_stay_finite_and_auxiliary_outputs_count_for_less(loss):
    there = np.eye(3, dtype=np.uint8)
    targets = {"labels": tf.constant(there, tf.float32)}
    of = objective(loss, there)
    logits = tf.Variable([[200.0, -200, 0]] * 3)
    with tf.GradientTape() as tape:
        value = of(logits, targets)
    assert np.isfinite(value).all() and np.isfinite(tape.gradient(value, logits)).all()
    several = of({"aux1": logits / 100, "logits": logits / 50}, targets)
    np.testing.assert_allclose(several, of(logits / 50, targets) + AUXILIARY_WEIGHT * of(logits / 100, targets))
    with pytest.raises(DataError, match="not one record with the label 'dog' in train"):
        objective(loss, np.array([[1, 0, 1]], np.uint8))


@pytest.mark.parametrize("names", [("flip", "crop"), ("mixup",), ("cutmix",)])
def test_labels_are_blended_as_the_images_are(names):
    """Grey images tell how much of each is in a blend: the value of one with its label is 200, of others 0."""
    there = (np.arange(24) % 2)[:, None] * np.array([[1, 0, 1]])
    images = np.broadcast_to(200 * there[:, :1, None, None], (24, 16, 16, 3)).astype(np.uint8)
    (changed, target) = TASK.augmented({"image": tf.constant(images)}, {"labels": tf.constant(there, tf.uint8)},
                                       (1, 2), names)  # fmt: skip
    shares, grey = target["labels"].numpy(), changed["image"].numpy().mean((1, 2, 3)) / 200
    np.testing.assert_allclose(shares[:, 0], grey, atol=0.005)
    np.testing.assert_array_equal(shares[:, 1:], np.stack([0 * shares[:, 0], shares[:, 0]], 1))
    assert ((0.01 < grey) & (grey < 0.99)).any() == (names != ("flip", "crop"))
    assert set(names) <= set(TASK.augmentations)


# --- metrics


@pytest.fixture(params=["distinct", "ties"])
def measured(request):
    rng = np.random.default_rng(5)
    there = rng.random((60, 4)) < (0.5, 0.3, 0.1, 0.9)
    scores = np.clip(0.35 * there + rng.random((60, 4)) * 0.65, 0, 1).astype(np.float32)
    scores = np.round(scores, 1) if request.param == "ties" else scores
    return Report(scores, there, np.array([0.5, 0.4, 0.7, 0.2], np.float32), ("a", "b", "c", "d"))


def test_metrics_are_those_of_scikit_learn(measured):
    report, there, found = measured, measured.there, measured.probabilities > measured.thresholds
    np.testing.assert_allclose(report.average_precision, average_precision_score(there, report.probabilities,
                                                                                 average=None))  # fmt: skip
    *wanted, counts = precision_recall_fscore_support(there, found, zero_division=0)
    np.testing.assert_allclose(report.scores, wanted)
    metrics = report.metrics
    assert metrics["map"] == pytest.approx(average_precision_score(there, report.probabilities))
    assert metrics["f1"] == pytest.approx(f1_score(there, found, average="macro"))
    assert metrics["exact_match"] == pytest.approx((there == found).all(1).mean()) and metrics["n"] == 60
    clipped = np.clip(report.probabilities.astype(np.float64), 1e-12, 1 - 1e-12)
    assert metrics["loss"] == pytest.approx(log_loss(there.ravel(), clipped.ravel()), rel=1e-4)
    told = json.loads(json.dumps(report.as_json()))
    assert [told["classes"][label]["n"] for label in report.labels] == counts.tolist()
    assert told["classes"]["b"]["precision"] == pytest.approx(wanted[0][1])
    (columns, rows), *_ = report.tables()
    assert rows[0][:2] == ("a", f"{report.average_precision[0]:.4f}") and len(columns) == len(rows[0])


def test_thresholds_are_best_for_f1_and_lie_in_the_middle(measured):
    for scores, there, limit in zip(measured.probabilities.T, measured.there.T, measured.best_thresholds(0.5),
                                    strict=True):  # fmt: skip
        tried = [f1_score(there, scores > one) for one in np.unique(scores) - 1e-6]
        assert f1_score(there, scores > limit) == pytest.approx(max(tried))
        above, below = scores[scores > limit].min(), scores[scores <= limit].max(initial=0)
        assert limit == pytest.approx((above + below) / 2)


def test_a_class_that_is_nowhere_counts_nowhere():
    scores, there = np.array([[0.9, 0.1], [0.2, 0.3]], np.float32), np.array([[1, 0], [0, 0]], bool)
    report = Report(scores, there, np.array([0.5, 0.5], np.float32), ("a", "b"))
    assert report.metrics["map"] == report.metrics["f1"] == report.metrics["exact_match"] == 1
    assert report.as_json()["classes"]["b"]["average_precision"] is None
    np.testing.assert_allclose(report.best_thresholds(0.4), [0.55, 0.4])


def test_mistakes_are_the_most_confident_decisions():
    scores = np.array([[0.9, 0.1], [0.2, 0.95], [0.8, 0.4], [0.1, 0.6]], np.float32)
    there = np.array([[1, 0], [1, 0], [1, 1], [0, 1]], bool)
    report = Report(scores, there, np.array([0.5, 0.5], np.float32), ("a", "b"))
    rows = [(one.place, one.true, one.found, round(one.probability, 3)) for one in report.mistakes(5)]
    assert rows == [(1, "no b", "b", 0.95), (2, "b", "no b", 0.6)]
    assert report.mistakes(1) == report.mistakes(5)[:1]


# --- as a value


def test_thresholds_go_with_their_labels():
    task = Multilabel(input=TASK.input, labels=("cat", "dog"), thresholds={"dog": 0.25, "cat": 0.75})
    outputs = {"probabilities": np.array([0.7, 0.3], np.float32)}
    assert task.answer(outputs)["labels"] == ["dog"]
    assert tasks.of_facts(json.loads(json.dumps(tasks.facts(task)))) == task
    assert TASK.answer({"probabilities": np.array([0.7, 0.6, 0.5], np.float32)}, 1) == {
        "labels": ["cat", "dog"], "top": [{"label": "cat", "probability": pytest.approx(0.7)}]}  # fmt: skip
    assert TASK.text({"labels": [], "top": [{"label": "cat", "probability": 0.25}]}) == "no label  (cat 0.250)"
    wanted = {"probabilities": np.array([[0.7, 0.3]], np.float32)}
    assert task.agreement({"probabilities": np.array([[0.8, 0.2]], np.float32)}, wanted) == 0.0
    other = Multilabel(input=TASK.input, labels=("dog", "cat"), thresholds=task.thresholds)
    assert other.limits.tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"loss": "hinge"}, "no loss of multilabel named 'hinge'; known: asymmetric, bce"),
        ({"thresholds": [0.5]}, "thresholds are numbers by label"),
        ({"thresholds": {"a": "x"}}, "the threshold of a is a number from 0 to 1, received 'x'"),
        ({"thresholds": {"a": True}}, "the threshold of a is a number from 0 to 1, received True"),
        ({"thresholds": {"a": float("nan")}}, "the threshold of a is a number from 0 to 1, received nan"),
    ],
)
def test_values_that_make_no_sense_are_refused(facts, told):
    known = {"task": "multilabel", "input": TASK.input.facts(), "labels": ["a"], "options": facts}
    with pytest.raises(ArtifactError, match=f"makes no sense: {told}"):
        tasks.of_facts(known)


@pytest.mark.parametrize(
    ("network", "options", "told"),
    [
        (
            "lenet5",
            {"name": "labels"},
            f"no task named 'labels'; known: {', '.join(sorted(tasks.TASKS))}",
        ),
        ("lenet5", {"loss": "bce"}, "no option of the task classification named 'loss'"),
        ("lenet5", {"name": "multilabel", "thresholds": {}}, "multilabel named 'thresholds'; known: loss, name"),
        ("unet", {"name": "multilabel"}, "has no head for classification"),
        ("text_cnn", {"name": "multilabel"}, "shapes:many has image, labels; tokens and labels are needed"),
    ],
)
def test_what_cannot_be_meant_is_told(tmp_path, network, options, told):
    with pytest.raises(CnnAppError, match=told):
        cnn_app.train(network, "shapes:many", tmp_path / "m", task=options)
    assert not (tmp_path / "m" / "card.json").exists()


def test_a_recipe_knows_the_metrics_of_the_task_that_it_names():
    given = {"name": "x", "model": {"name": "lenet5"}, "data": Data(source="shapes:many")}
    recipes.check(Recipe(**given, task={"name": "multilabel"}, acceptance={"map": 0.9}), "lenet5")
    with pytest.raises(RecipeError, match="no metric of .acceptance. named 'map'"):
        recipes.check(Recipe(**given, acceptance={"map": 0.9}), "lenet5")


# --- a model


def scenes(count, seed=0):
    """Bright bars on the left, on the right and on top, each there or not, and which."""
    rng = np.random.default_rng(seed)
    there = rng.random((count, 3)) < 0.5
    images = rng.integers(0, 60, (count, SIDE, SIDE, 1))
    for image, (left, right, top) in zip(images, there, strict=True):
        image[8:, :8] += 150 * left
        image[8:, 24:] += 150 * right
        image[:6] += 150 * top
    return images.astype(np.uint8), there.astype(np.uint8)


@pytest.fixture(scope="module")
def records():
    return sources.arrays({"train": scenes(160), "val": scenes(48, 1), "test": scenes(48, 2)}, LABELS, target="labels")


@pytest.fixture(scope="module")
def trained(records, tmp_path_factory):
    out = tmp_path_factory.mktemp("store") / "bars"
    schedule = Schedule(epochs=4, batch=16, lr=0.004, augment=("crop", "mixup"))
    cnn_app.train("lenet5", records, out, task={"name": "multilabel", "loss": "asymmetric"}, schedule=schedule)
    return out


@pytest.mark.slow
def test_it_learns_and_its_thresholds_belong_to_it(trained, records):
    card = ModelDir(trained).read_card()
    assert card.task == "multilabel" and card.labels == LABELS and card.columns["classes"] == 3
    assert card.metrics["test"]["map"] > 0.95 and set(card.metrics["val"]) == {"map", "loss"}
    on_val = cnn_app.evaluate(trained, records, "val").report
    np.testing.assert_array_equal(on_val.thresholds, on_val.best_thresholds(0.5))
    assert card.options == {"loss": "asymmetric", "thresholds": dict(zip(LABELS, map(float, on_val.thresholds),
                                                                         strict=True))}  # fmt: skip
    assert set(card.options["thresholds"].values()) != {0.5}
    assert about_of(ModelDir(trained).model).options == card.options
    assert cnn_app.load_model(trained).output_shape == (None, 3)
    test = cnn_app.evaluate(trained, records).report
    assert test.metrics == pytest.approx(card.metrics["test"])
    ModelDir(trained).check_state()


def test_models_of_other_orders_and_thresholds_are_measured_by_their_own(trained, records, tmp_path):
    """The same network with its classes, and so its thresholds, the other way round."""
    task, model = tasks.of_card(ModelDir(trained).read_card()), cnn_app.load_model(trained)
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel[:, ::-1], bias[::-1]])
    limits = {label: value / 2 for label, value in task.thresholds.items()}
    turned = Multilabel(input=task.input, labels=LABELS[::-1], thresholds=limits)
    served.export(turned, model, tmp_path / "turned", "onnx")
    found = cnn_app.evaluate([trained, tmp_path / "turned" / "onnx" / "turned.onnx"], records)
    one, other = found.reports.values()
    np.testing.assert_allclose(other.probabilities, one.probabilities, atol=1e-5)
    np.testing.assert_allclose(other.thresholds, one.thresholds / 2)
    assert found.ensemble.metrics["map"] == pytest.approx(one.metrics["map"])


def test_a_run_that_is_resumed_has_the_thresholds_of_its_best_epoch(records, tmp_path):
    """It is stopped behind its last epoch, so nothing is left to train."""
    given = ("lenet5", records, tmp_path / "m")
    options = {"task": {"name": "multilabel"}, "schedule": Schedule(epochs=2, batch=32, augment=())}

    def stop(row):
        if row["epoch"] == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        cnn_app.train(*given, **options, watch=Watch(epoch=stop))
    before = ModelDir(tmp_path / "m").read_card()
    card = cnn_app.train(*given, **options, resume=True)
    assert before.options["thresholds"] and (card.options, card.digests) == (before.options, before.digests)
    found = cnn_app.evaluate(tmp_path / "m", records).report
    assert found.metrics == pytest.approx(card.metrics["test"])


def test_commands_show_labels(trained, tmp_path):
    images, there = scenes(12, 3)
    told = [[label for label, one in zip(LABELS, row, strict=True) if one] for row in there]
    names = [f"{split}/{i}.png" for split in ("train", "val", "test") for i in range(12)]
    lines = (f"{name},{'|'.join(told[i % 12])}\n" for i, name in enumerate(names))
    place = folder(tmp_path / "data", names, {"labels.csv": "file,labels\n" + "".join(lines)})
    for i, name in enumerate(names):
        Picture.fromarray(images[i % 12][..., 0]).save(place / name)
    drawn = [tmp_path / name for name in ("bars.png", "sheet.png", "0.png")]
    result = invoked("evaluate", trained, "--data", place, "--confusion", drawn[0], "--mistakes", drawn[1])
    assert result.exit_code == 0 and "mAP" in result.stdout and "threshold" in result.stdout, result.output
    result = invoked("predict", trained, place / "test", "--out", tmp_path / "x.csv", "--draw", tmp_path)
    assert result.exit_code == 0, result.output
    found = {line.split(": ")[0]: line.split(": ")[1].split("  (")[0] for line in result.stdout.splitlines()}
    wanted = {str(place / "test" / f"{i}.png"): set(labels) or {"no label"} for i, labels in enumerate(told)}
    assert {name: set(text.split(", ")) for name, text in found.items()} == wanted
    with (tmp_path / "x.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert {"labels", "label1", "probability1", "unlike"} <= set(row)
    assert row["labels"] == found[row["image"]].replace(", ", "|").replace("no label", "")
    for file in drawn:
        with Picture.open(file) as picture:
            assert picture.format == "PNG" and picture.width > 300


def test_other_labels_get_a_new_head_and_new_thresholds(trained, tmp_path):
    images, there = scenes(64, 4)
    other = sources.arrays({"train": (images, there[:, :2]), "val": (images, there[:, :2])}, ("w", "e"),
                           target="labels")  # fmt: skip
    card = cnn_app.finetune(trained, other, tmp_path / "tuned", schedule=Schedule(epochs=1, batch=16, augment=()))
    assert card.task == "multilabel" and card.options["loss"] == "asymmetric"
    assert set(card.options["thresholds"]) == {"w", "e"} and card.columns["classes"] == 2


@pytest.mark.slow
def test_a_classifier_becomes_one_for_several_labels(records, tmp_path):
    images, there = scenes(64, 5)
    classes = sources.arrays({"train": (images, there[:, 0]), "val": (images, there[:, 0])}, ("dark", "bright"))
    schedule = Schedule(epochs=1, batch=16, augment=())
    cnn_app.train("lenet5", classes, tmp_path / "one", schedule=schedule)
    card = cnn_app.finetune(tmp_path / "one", records, tmp_path / "many", task={"name": "multilabel"},
                            schedule=schedule)  # fmt: skip
    assert card.task == "multilabel" and card.labels == LABELS and set(card.options) == {"loss", "thresholds"}


def test_what_needs_one_class_for_each_record_says_so(trained):
    result = invoked("features", trained, "--data", "shapes:many", "--linear", "svm")
    assert result.exit_code == 1 and "images for multilabel have no one class each" in result.stderr
    with pytest.raises(RecipeError, match="one class for each record, which multilabel does not have"):
        transferability.halves(TASK, TASK.load(Data(source="shapes:many")), (), 10, 10)


@pytest.mark.slow
def test_an_average_has_thresholds_of_its_own(trained, records, tmp_path):
    schedule = Schedule(epochs=1, batch=16, lr=1e-3, augment=())
    cnn_app.finetune(trained, records, tmp_path / "two", schedule=schedule)
    from cnn_app.jobs.average import average

    average([trained, tmp_path / "two"], tmp_path / "mean", records)
    card = ModelDir(tmp_path / "mean").read_card()
    report = cnn_app.evaluate(tmp_path / "mean", records, "val").report
    np.testing.assert_array_equal(report.thresholds, report.best_thresholds(0.5))
    assert card.options["thresholds"] == dict(zip(LABELS, map(float, report.thresholds), strict=True))
    assert about_of(ModelDir(tmp_path / "mean").model).options == card.options


def test_a_head_of_another_kind_is_put_on_by_name():
    model = cnn_app.create_model("lenet5", head="multilabel", classes=3)
    assert model.output_shape == (None, 3)
    deployed = TASK.deployed(model)
    pixels = np.full((2, 32, 32, 1), 100, np.float32)
    found = deployed.predict_on_batch(pixels)["probabilities"]
    np.testing.assert_allclose(found, keras.ops.sigmoid(model.predict_on_batch(pixels)), atol=1e-6)
    with pytest.raises(ModelError, match="has no head for classification"):
        cnn_app.create_model("unet", head="multilabel")


@pytest.fixture(scope="module")
def exported(trained, records):
    return cnn_app.export(trained, (*ENGINES, "tflite-int8"), records)


@pytest.mark.slow
def test_every_format_decides_alike(trained, exported, records):
    assert [result.target for result in exported] == [*ENGINES, "tflite-int8"]
    for result in exported:
        assert result.metric == "map" and result.n == 48 and abs(result.drop) < 0.5 and result.agreement > 0.98
        assert result.max_difference < (0.1 if result.target == "tflite-int8" else 1e-4), result
        assert result.target in ("saved_model", "onnx") or result.speed.delegates == 1
    task, images = tasks.of(open_model(trained)), scenes(6, 6)[0]
    wanted = open_model(trained).run({"image": images})["probabilities"]
    for entry in ModelDir(trained).read_exports():
        runtime = open_model(trained / entry["path"])
        assert tasks.of(runtime) == task and golden.check(trained / entry["path"]).passed
        found = runtime.run({"image": images})["probabilities"]
        if "int8" in entry["path"]:
            assert (np.abs(found * 256 - np.round(found * 256)) > 0.01).any()  # not in steps of 1/256
            continue
        for one, other in zip(found, wanted, strict=True):
            assert task.answer({"probabilities": one})["labels"] == task.answer({"probabilities": other})["labels"]


@pytest.mark.slow
def test_servers_give_the_labels_that_are_there(trained, exported, tmp_path):
    """By REST and by gRPC, from a graph that names them itself and from files that the server names them for."""
    task, images = tasks.of(open_model(trained)), scenes(5, 7)[0]
    answers = KerasRuntime(task.deployed(cnn_app.load_model(trained))).run({"image": images})["probabilities"]
    wanted = [task.answer({"probabilities": row}) for row in answers]
    assert len({tuple(one["labels"]) for one in wanted}) > 2  # or the test says little
    places = {entry["target"]: trained / entry["path"] for entry in ModelDir(trained).read_exports()}
    with served.running(*(f"{kind}={places[kind]}" for kind in ENGINES)) as server:
        for kind in ENGINES:
            for address in (server.rest, server.grpc):
                with Client(f"{address}/{kind}") as client:
                    given = [served.png(image[..., 0]) for image in images]
                    found = list(client.each(given, client.encoded))
                for one, other in zip(found, wanted, strict=True):
                    assert one.told()["labels"] == other["labels"] and one.outputs["present"].dtype == bool
                    assert [row["label"] for row in one.top()] == [row["label"] for row in other["top"]]
                    np.testing.assert_allclose(one.scores, [row["probability"] for row in other["top"]], atol=1e-4)
                    assert one.text() == task.text(one.told())
