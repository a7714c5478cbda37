"""A class for each pixel: masks and what is refused, losses and metrics by hand, and a small U-Net in every format."""

import io
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image as Picture

import cnn_app
from cnn_app import data as sources
from cnn_app import tasks
from cnn_app.artifacts import ModelDir
from cnn_app.cli.main import cli
from cnn_app.data import pipeline
from cnn_app.data.dataset import Split, in_memory
from cnn_app.errors import DataError, ModelError, RecipeError
from cnn_app.export import golden
from cnn_app.export.targets import TARGETS
from cnn_app.inputs.image import Image
from cnn_app.jobs import sources as jobs
from cnn_app.recipe import Data, Schedule
from cnn_app.runtimes import open_model
from cnn_app.tasks import boundaries, mask_losses, mask_pictures, masks
from cnn_app.tasks.segmentation import IGNORED, Segmentation, middle

SIDE = 32
SMALL = {"width": 4, "depth": 2, "padding": "same", "image": (SIDE, SIDE, 3)}
SHORT = ("-c", "width=2", "-c", "depth=1", "-c", "padding=same", "--image", "16x16x3", "--epochs", "1", "--batch", "4",
         "--out", "m")  # fmt: skip
NEAR = {"saved_model": 1e-5, "tflite-float32": 1e-4, "onnx": 1e-4}  # others round
TASK = Segmentation(input=Image((4, 4, 3)), labels=("ground", "thing", "sky"))


def invoked(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def line(*arguments):
    """The one line on stderr of a command that fails before any step."""
    result = invoked(*arguments)
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1 and not result.stdout, result.output
    return result.stderr


def scene(rng, side=SIDE):
    """A bright square on dark noise, and where it is."""
    mask = np.zeros((side, side), np.uint8)
    y, x, size = (*rng.integers(1, side // 2, 2), rng.integers(side // 4, side // 2))
    mask[y : y + size, x : x + size] = 1
    pixels = rng.normal(60 + 120 * mask[..., None], 12, (side, side, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8), mask


def save(file, values):
    """A mask as a PNG of grey values, or what a picture is already."""
    file.parent.mkdir(parents=True, exist_ok=True)
    (values if isinstance(values, Picture.Image) else Picture.fromarray(values)).save(file)


def folder(place, count, side=SIDE, draw=lambda mask: mask, splits=("train", "val"), labels=None):
    rng = np.random.default_rng(0)
    for split in splits:
        for i in range(count):
            pixels, mask = scene(rng, side)
            save(place / split / "images" / f"{i}.png", pixels)
            save(place / split / "masks" / f"{i}.png", draw(mask))
    if labels is not None:
        (place / "labels.txt").write_bytes(labels if isinstance(labels, bytes) else labels.encode())
    return place


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("data") / "squares", 12, splits=("train", "val", "test"))


@pytest.fixture(scope="module")
def trained(squares, tmp_path_factory):
    out = tmp_path_factory.mktemp("store") / "squares"
    schedule = Schedule(epochs=12, batch=4, lr=0.02, augment=("flip",))
    cnn_app.train("unet", str(squares), out, columns=SMALL, schedule=schedule)
    return out


def read(place, task=None, **more):
    """The masks of a folder as a network of 16x16 takes them, by split, and the labels."""
    task = task or Segmentation(input=Image((16, 16, 3)))
    data = Data(source=str(place), **more)
    dataset = jobs.prepared(task, task.load(data), data)
    return {name: pipeline.gathered(split)[1]["mask"] for name, split in dataset.splits.items()}, dataset.labels


# --- masks on disk


def palette(mask):
    picture = Picture.fromarray(mask, "P")
    picture.putpalette([10, 20, 30, 200, 100, 50, *[7] * 762])  # colours say nothing, places do
    return picture


KINDS = {
    "grey values": (lambda mask: mask, None, ("0", "1")),
    "black and white": (lambda mask: mask * 255, None, masks.BINARY),
    "one bit": (lambda mask: Picture.fromarray(mask * 255).convert("1"), None, masks.BINARY),
    "a palette": (palette, None, ("0", "1")),
    "named": (lambda mask: mask, "ground\nthing\n\n", ("ground", "thing")),
    "black and white, named": (lambda mask: mask * 255, "ground\r\nthing\r\n", ("ground", "thing")),
    "void in front": (lambda mask: mask + 1, "Void\nground\nthing", ("ground", "thing")),
}


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_masks_become_places_of_classes(tmp_path, kind):
    draw, labels, names = KINDS[kind]
    found, told = read(folder(tmp_path, 3, 16, draw, labels=labels))
    rng = np.random.default_rng(0)
    wanted = np.stack([scene(rng, 16)[1] for _ in range(6)])
    assert told == names
    np.testing.assert_array_equal(np.concatenate([found["train"], found["val"]]), wanted)
    assert found["test"] is not None and found["val"].dtype == np.uint8


def test_void_and_the_ignored_value_do_not_count(tmp_path):
    def draw(mask):
        mask = mask.copy()
        mask[0], mask[1] = 2, 255
        return mask

    found, labels = read(folder(tmp_path, 2, 16, draw, labels="ground\nthing\nvoid\n"))
    assert labels == ("ground", "thing") and (found["train"][:, :2] == IGNORED).all()
    assert set(np.unique(found["train"][:, 2:])) == {0, 1}
    (tmp_path / "labels.txt").unlink()
    assert read(tmp_path)[1] == ("0", "1", "2")
    with pytest.raises(DataError, match="the masks have values up to 255; 254 classes from 0 on are the most"):
        read(tmp_path, Segmentation(input=Image((16, 16, 3)), ignore=2))


def test_another_value_may_be_the_ignored_one(tmp_path):
    found, labels = read(folder(tmp_path, 2, 16, lambda mask: mask * 2 + np.eye(16, dtype=np.uint8)),
                         Segmentation(input=Image((16, 16, 3)), ignore=0))  # fmt: skip
    mask = scene(np.random.default_rng(0), 16)[1] * 2 + np.eye(16, dtype=np.uint8)
    assert labels == ("1", "2", "3")
    np.testing.assert_array_equal(found["train"][0], np.array([IGNORED, 0, 1, 2])[mask])


def test_a_mask_is_resized_to_its_nearest_value(tmp_path):
    """Between 0 and 2 there is no 1."""
    place = folder(tmp_path, 2, 40, lambda mask: mask * 2, labels="ground\nnever\nthing\n")
    found, _ = read(place)
    assert found["train"].shape == (2, 16, 16) and set(np.unique(found["train"])) == {0, 2}


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("side", [(180, 240), (31, 47), (16, 16), (5, 3)])
def test_a_resized_mask_has_no_value_that_it_had_not(resize, side):
    """Labels cannot be averaged: of 0 and 10 there would be a 5."""
    mask = np.random.default_rng(0).choice(np.array([0, 10, IGNORED], np.uint8), side)
    task = Segmentation(input=Image((16, 32, 3), resize=resize), labels=tuple("abcdefghijk"))
    _, convert = task.converters()["mask"]
    found = convert(tf.constant(mask)).numpy()
    assert set(np.unique(found)) <= {0, 10, IGNORED} and len(np.unique(found)) > 1
    if resize == "stretch":
        rows, columns = ((np.arange(n) + 0.5) * have // n for n, have in zip((16, 32), side, strict=True))
        np.testing.assert_array_equal(found, mask[rows.astype(int)][:, columns.astype(int)])


def test_one_folder_is_divided_by_names(tmp_path):
    place = folder(tmp_path, 40, 16, splits=("",))
    found, _ = read(place)
    assert sum(map(len, found.values())) == 40 and all(map(len, found.values()))


def replaced(file, values):
    def change(place):
        save(place / file, values)

    return change


def removed(file):
    return lambda place: shutil.rmtree(place / file) if (place / file).is_dir() else (place / file).unlink()


def content(file, data):
    return lambda place: (place / file).write_bytes(data)


def cut(file):
    return lambda place: content(file, (place / file).read_bytes()[:60])(place)


BROKEN = {
    "another size": (replaced("val/masks/1.png", np.zeros((16, 15), np.uint8)),
                     "val/masks/1.png has 15x16 pixels, its image 1.png 16x16; they must be equal"),
    "a value out of range": (replaced("val/masks/1.png", np.full((16, 16), 7, np.uint8)),
                             "val/images/1.png: its mask val/masks/1.png has the value 7, there are 2 classes"),
    "no mask": (removed("train/masks/1.png"), "train/images/1.png has no mask; add it or remove the file"),
    "no image": (removed("train/images/1.png"), "train/masks/1.png has no image; add it or remove the file"),
    "no masks": (removed("val/masks"), "val has no masks/; segmentation needs images/ and masks/ with equal names"),
    "a mask in colours": (replaced("train/masks/1.png", np.zeros((16, 16, 3), np.uint8)),
                          "its mask train/masks/1.png cannot be read: it is of mode RGB; masks are PNGs of grey"),
    "a mask of 16 bits": (replaced("train/masks/1.png", np.zeros((16, 16), np.uint16)), "it is of mode I;16"),
    "a mask cut off": (cut("val/masks/0.png"), "its mask val/masks/0.png cannot be read"),
    "an image cut off": (cut("val/images/0.png"), "cannot read val/images/0.png: it is damaged or cut off"),
    "an image twice": (replaced("train/images/1.bmp", np.zeros((16, 16, 3), np.uint8)), "one name for two pictures"),
    "one class": (content("labels.txt", b"ground\nvoid\n"), "has one class only (ground); masks need two or more"),
    "no labels": (content("labels.txt", b"\n"), "labels.txt has 0 labels"),
    "a label twice": (content("labels.txt", b"a\nb\na\n"), "labels.txt:3 stands there twice"),
    "an empty label": (content("labels.txt", b"a\n\nb\n"), "labels.txt:2 is empty; a line is a value's label"),
    "labels not in UTF-8": (content("labels.txt", b"a\n\xff\n"), "labels.txt is not UTF-8; save it as that"),
    "too many labels": (content("labels.txt", b"".join(b"%d\n" % i for i in range(255))), "has 255 labels"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_does_not_fit_is_told_before_any_step(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    change, told = BROKEN[case]
    change(folder(tmp_path / "data", 2, 16, labels="ground\nthing\n"))
    assert told in line("train", "unet", *SHORT, "--data", "data")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--data", "digits"), "digits has no masks; give shapes:masks or a folder with images/ and masks/"),
        (("--data", "data/train/images"), "has no images/; segmentation needs images/ and masks/"),
        (("--data", "data", "-t", "loss=hinge"), "cross-entropy, dice, both, focal, lovasz, received 'hinge'"),
        (("--data", "data", "-t", "ignore=300"), "a value of a mask, from 0 to 255, received 300"),
        (("--data", "data", "-t", "weight=2"), "no option of the task segmentation named 'weight'"),
        (
            ("--data", "data", "--augment", "mixup"),
            "images for segmentation cannot be changed by 'mixup'; known: flip",
        ),
    ],
)
def test_what_cannot_be_meant_is_told(tmp_path, monkeypatch, options, told):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "data", 2, 16)
    assert told in line("train", "unet", *SHORT, *options)


@pytest.mark.slow
def test_bad_masks_can_be_skipped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "data", 3, 16, labels="ground\nthing\n")
    save(tmp_path / "data" / "train" / "masks" / "1.png", np.full((16, 16), 9, np.uint8))
    result = invoked("train", "unet", *SHORT, "--data", "data", "--on-bad-image", "skip")
    assert result.exit_code == 0 and "left out 1: train/images/1.png: its mask" in result.stderr
    assert ModelDir("m").read_card().data["counts"] == {"train": 2, "val": 3, "test": 3}


def test_places_follow_the_models_order_of_classes():
    given = np.array([[[0, 1], [2, IGNORED]]], np.uint8)
    images = np.zeros((1, 2, 2, 3), np.uint8)
    records = sources.arrays({name: (images, given) for name in ("train", "val")}, ("a", "b", "c"), target="mask")
    task = Segmentation(input=Image((2, 2, 3)), labels=("c", "a", "b"))
    dataset = task.in_order(task.load(records), task.labels)
    column = dataset.splits["val"].targets["mask"]
    np.testing.assert_array_equal(column.array, [[[1, 2], [0, IGNORED]]])
    np.testing.assert_array_equal(column.read(0), [[1, 2], [0, IGNORED]])
    with pytest.raises(DataError, match="the model does not know c; the data has no d"):
        task.in_order(task.load(records), ("a", "b", "d"))


# --- figures by hand


def certain(*places):
    """Probabilities (1, 1, w, 3) that leave no doubt."""
    return np.eye(3, dtype=np.float32)[np.array([[places]])]


def targets(*places):
    return {"mask": np.array([[places]], np.uint8)}


def test_mean_iou_is_of_the_whole_set():
    """Not the mean of the images': 1/2 and 5/6 for class 0 over both, 3/4 and 2/4 in each alone.

    Of 0: 5 of 6 (union: 5 right, 1 taken for 1). Of 1: 1 of 2. 2 is in no mask, but found once where nothing counts.
    """
    batches = [
        ({"probabilities": certain(0, 0, 0, 1)}, targets(0, 0, 0, 0)),
        ({"probabilities": certain(0, 0, 1, 2)}, targets(0, 0, 1, IGNORED)),
    ]
    report = TASK.measure(batches)
    assert report.confusion.tolist() == [[5, 1, 0], [0, 1, 0], [0, 0, 0]] and report.n == 2
    np.testing.assert_allclose(report.iou, [5 / 6, 1 / 2, np.nan])
    assert report.metrics["mean_iou"] == pytest.approx((5 / 6 + 1 / 2) / 2)
    assert report.metrics["pixel_accuracy"] == pytest.approx(6 / 7)
    assert report.metrics["loss"] == pytest.approx(-np.log(1e-12) / 7, rel=1e-5)
    assert report.as_json()["iou"] == {"ground": pytest.approx(5 / 6), "thing": pytest.approx(1 / 2)}
    (columns, rows), *_ = report.tables()
    assert rows == [
        ("ground", "0.8333", "0.6667", "85.7%"),
        ("thing", "0.5000", "0.6667", "14.3%"),
        ("sky", "", "", "0.0%"),
    ]
    assert json.dumps(report.as_json())


def test_a_class_that_is_found_but_not_there_has_no_overlap():
    report = TASK.measure([({"probabilities": certain(0, 2)}, targets(0, 0))])
    np.testing.assert_allclose(report.iou, [1 / 2, np.nan, 0])


def test_the_loss_of_the_report_is_that_of_a_pixel():
    found = np.array([[[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]]], np.float32)
    report = TASK.measure([({"probabilities": found}, targets(0, 1, IGNORED))])
    assert report.metrics["loss"] == pytest.approx(-(np.log(0.5) + np.log(0.8)) / 2)


def test_boundary_f1_by_hand():
    """A square of 4x4 and one that is moved by two columns, in 20x20, where a pixel is as near as may be.

    Each boundary of the square has 12 pixels. Of the moved one those of the columns within one of the other's
    boundary are met: its upper and lower sides but for the last column, and nothing of its sides but the corners.
    """
    true, found = np.zeros((2, 20, 20), np.uint8)
    true[8:12, 8:12] = 1
    found[8:12, 10:14] = 1
    np.testing.assert_array_equal(boundaries.counts(true, true, 2)[:, 1], [12, 12, 12, 12])
    met = boundaries.counts(found, true, 2)[:, 1]
    inside = [(y, x) for y in range(8, 12) for x in range(8, 12) if y in (8, 11) or x in (8, 11)]
    near = sum(any(max(abs(y - v), abs(x + 2 - u)) <= 1 for v, u in inside) for y, x in inside)
    np.testing.assert_array_equal(met, [near, 12, near, 12])
    total = boundaries.counts(found, true, 3)
    np.testing.assert_allclose(boundaries.f1(total)[1:], [near / 12, np.nan])


def test_what_does_not_count_has_no_boundary():
    mask = np.full((9, 9), IGNORED, np.uint8)
    mask[:, :4] = 1
    assert not boundaries.counts(np.ones_like(mask), mask, 2).any()


@pytest.fixture
def batch():
    """Logits (2, 6, 5, 3) and masks of 8x8 whose middle they are of, with pixels that do not count."""
    rng = np.random.default_rng(3)
    mask = rng.integers(0, 3, (2, 8, 8)).astype(np.uint8)
    mask[rng.random(mask.shape) < 0.3] = IGNORED
    return rng.normal(size=(2, 6, 5, 3)).astype(np.float32), mask


def by_numpy(logits, mask, kind, weights, smooth):
    """Image by image and pixel by pixel."""
    losses = []
    for image, places in zip(logits.astype(np.float64), mask[:, 1:7, 1:6], strict=True):
        shares = np.exp(image) / np.exp(image).sum(-1, keepdims=True)
        pixels = [(shares[y, x], place) for (y, x), place in np.ndenumerate(places) if place != IGNORED]
        total = 0.0
        if kind in ("cross-entropy", "both", "focal"):
            each = []
            for share, place in pixels:
                wanted = [(1 - smooth) * (k == place) + smooth / 3 for k in range(3)]
                focus = (1 - share[place]) ** 2 if kind == "focal" else 1
                each.append(-np.dot(wanted, np.log(share)) * weights[place] * focus)
            total += sum(each) / sum(weights[place] for _, place in pixels)
        if kind == "lovasz":
            total += lovasz([share for share, _ in pixels], [place for _, place in pixels])
        if kind in ("dice", "both"):
            fractions = []
            for k in range(3):
                both = sum(share[k] for share, place in pixels if place == k)
                there, found = sum(place == k for _, place in pixels), sum(share[k] for share, _ in pixels)
                fractions.append((2 * both + 1) / (there + found + 1))
            total += 1 - np.mean(fractions)
        losses.append(total)
    return losses


def lovasz(shares, places):
    """Errors in falling order, each times what the Jaccard loss gains when its pixel is wrong, too."""
    losses = []
    for k in set(places):
        errors = [1 - share[k] if place == k else share[k] for share, place in zip(shares, places, strict=True)]
        order = np.argsort(-np.array(errors), kind="stable")
        wrong, before, total = set(), 0.0, 0.0
        there = {i for i, place in enumerate(places) if place == k}
        for i in order:
            wrong.add(i)
            lost = 1 - len(there - wrong) / len(there | wrong)
            total += errors[i] * (lost - before)
            before = lost
        losses.append(total)
    return np.mean(losses)


@pytest.mark.parametrize("kind", mask_losses.NAMES)
@pytest.mark.parametrize(("balanced", "smooth"), [("none", 0.0), ("balanced", 0.0), ("balanced", 0.2)])
def test_losses_are_those_by_numpy(batch, kind, balanced, smooth):
    logits, mask = batch
    split = Split(["a", "b"], {}, {"mask": in_memory(mask)})
    counts = np.bincount(mask[mask != IGNORED], minlength=3)
    weights = counts.sum() / (3 * counts) if balanced == "balanced" else np.ones(3)
    task = Segmentation(input=Image((8, 8, 3)), labels=TASK.labels, loss=kind)
    loss = task.objective(Schedule(class_weights=balanced, label_smoothing=smooth), split)
    found = loss(keras.ops.convert_to_tensor(logits), {"mask": mask})
    np.testing.assert_allclose(found, by_numpy(logits, mask, kind, weights, smooth), rtol=1e-5)


def test_a_mask_without_a_pixel_that_counts_has_no_loss(batch):
    logits, mask = batch
    empty = np.full_like(mask, IGNORED)
    for kind in ("cross-entropy", "both"):
        task = Segmentation(input=Image((8, 8, 3)), labels=TASK.labels, loss=kind)
        loss = task.objective(Schedule(), Split(["a", "b"], {}, {"mask": in_memory(mask)}))
        np.testing.assert_array_equal(loss(keras.ops.convert_to_tensor(logits), {"mask": empty}), [0, 0])
    np.testing.assert_array_equal(TASK.step_metrics(logits, {"mask": empty})["pixel_accuracy"], [0, 0])


def test_pixel_accuracy_of_a_step(batch):
    logits, mask = batch
    places, found = mask[:, 1:7, 1:6], logits.argmax(-1)
    wanted = [(f == p)[p != IGNORED].mean() for f, p in zip(found, places, strict=True)]
    np.testing.assert_allclose(TASK.step_metrics(logits, {"mask": mask})["pixel_accuracy"], wanted, rtol=1e-6)


def test_the_middle_of_a_mask():
    mask = np.arange(2 * 8 * 9).reshape(2, 8, 9)
    np.testing.assert_array_equal(middle(mask, (8, 9)), mask)
    np.testing.assert_array_equal(middle(mask, (4, 4)), mask[:, 2:6, 2:6])


@pytest.mark.slow
def test_a_network_without_padding_is_measured_in_the_middle(squares, tmp_path):
    """The same answers against masks that were cut by hand."""
    schedule, columns = Schedule(epochs=1, batch=4, augment=()), {"width": 2, "depth": 1, "image": (SIDE, SIDE, 3)}
    card = cnn_app.train("unet", str(squares), tmp_path / "m", columns=columns, schedule=schedule)
    pairs = [scene(rng) for rng in [np.random.default_rng(0)] for _ in range(36)][24:]
    found = open_model(tmp_path / "m").run({"image": np.stack([pixels for pixels, _ in pairs])})["probabilities"]
    assert found.shape == (12, 16, 16, 2)
    right = found.argmax(-1) == np.stack([mask[8:24, 8:24] for _, mask in pairs])
    assert card.metrics["test"]["pixel_accuracy"] == pytest.approx(right.mean())


# --- augmentation


@pytest.mark.parametrize("names", [("flip",), ("crop",), ("flip", "crop")])
def test_image_and_mask_are_moved_together(names):
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 256, (16, 24, 16)).astype(np.uint8)
    image = np.stack([mask, 255 - mask, mask // 2], -1)
    (moved, target) = TASK.augmented({"image": tf.constant(image)}, {"mask": tf.constant(mask)}, (1, 2), names)
    found, places = moved["image"].numpy(), target["mask"].numpy()
    np.testing.assert_array_equal(found, np.stack([places, 255 - places, places // 2], -1))
    assert (places != mask).any((1, 2)).sum() > 3 and places.dtype == np.uint8
    again = TASK.augmented({"image": tf.constant(image)}, {"mask": tf.constant(mask)}, (1, 2), names)[1]["mask"]
    np.testing.assert_array_equal(again, places)
    other = TASK.augmented({"image": tf.constant(image)}, {"mask": tf.constant(mask)}, (1, 3), names)[1]["mask"]
    assert (other.numpy() != places).any()
    if names == ("flip",):
        kinds = [
            (row == before).all() or (row == before[:, ::-1]).all() for row, before in zip(places, mask, strict=True)
        ]
        assert all(kinds)


# --- a model


def test_it_learns_and_its_card_says_what_it_is_for(trained, squares):
    card = ModelDir(trained).read_card()
    assert card.task == "segmentation"
    assert card.options == {"loss": "cross-entropy", "ignore": 255, "decoder": None, "auxiliary": False}
    assert card.input == {"kind": "image", "image": [SIDE, SIDE, 3]} and card.labels == ("0", "1")
    assert card.metrics["test"]["mean_iou"] > 0.9 and set(card.metrics["val"]) == {"mean_iou", "loss"}
    report = cnn_app.evaluate(trained, str(squares)).report
    assert report.metrics == pytest.approx(card.metrics["test"]) and report.confusion.sum() == 12 * SIDE**2
    both = cnn_app.evaluate([trained, cnn_app.load_model(trained)], str(squares))
    assert both.ensemble.metrics["mean_iou"] == pytest.approx(report.metrics["mean_iou"])
    with pytest.raises(DataError, match="images for segmentation have no views by flip"):
        cnn_app.evaluate(trained, str(squares), tta=("flip",))


def test_evaluate_shows_classes_and_draws(trained, squares, tmp_path):
    result = invoked("evaluate", trained, "--data", squares, "--confusion", tmp_path / "c.png")
    assert result.exit_code == 0 and "mean IoU" in result.stdout and "of the pixels" in result.stdout
    with Picture.open(tmp_path / "c.png") as drawn:
        assert drawn.format == "PNG"


def test_predict_draws_what_it_found(trained, squares, tmp_path):
    """Beside the image the same under the colours of the classes: the square is another colour than the ground."""
    file = squares / "test" / "images" / "3.png"
    result = invoked("predict", trained, file, "--draw", tmp_path / "drawn", "--out", tmp_path / "x.csv")
    assert result.exit_code == 0 and "%" in result.stdout, result.output
    assert (tmp_path / "x.csv").read_text().startswith("image,label1,share1")
    with Picture.open(tmp_path / "drawn" / "3.png") as drawn:
        pixels = np.asarray(drawn.convert("RGB")).astype(int)
    assert pixels.shape[1] > pixels.shape[0] > 100
    hue = np.abs(pixels - pixels.mean(-1, keepdims=True)).max(-1) > 40
    assert hue[:, : hue.shape[1] // 2].sum() < hue[:, hue.shape[1] // 2 :].sum()  # it lies over the right one
    (found,) = cnn_app.predict(trained, file)
    mask = np.asarray(Picture.open(squares / "test" / "masks" / "3.png"))
    assert (np.array(found.answer["mask"]) == mask).mean() > 0.95
    assert sum(row["share"] for row in found.answer["top"]) == pytest.approx(1)


class Numbers:
    """As a lookup table in the graph."""

    @staticmethod
    def lookup(numbers):
        return tf.strings.as_string(numbers)


def test_masks_are_served_by_hand():
    """A map of 2x2 in the middle of an image of 4x4: three pixels of one class, one of another."""
    places = np.array([[[2, 2], [0, 2]]])
    outputs = {"probabilities": tf.one_hot(places, 3)}
    plain, found = TASK.served(outputs, Numbers, None), TASK.served(outputs, Numbers, tf.constant([b""]))
    assert set(plain) == {"probabilities", "mask", "classes", "scores"} and "probabilities" not in found
    np.testing.assert_array_equal(plain["mask"], places)
    assert plain["scores"].numpy().tolist() == [[0.75, 0.25, 0.0]]
    assert plain["classes"].numpy().tolist() == [[b"2", b"0", b"1"]]
    np.testing.assert_array_equal(tf.io.decode_png(found["mask_bytes"][0], 1)[..., 0], places[0])
    overlay = tf.io.decode_png(found["overlay_bytes"][0], 4).numpy()
    np.testing.assert_array_equal(overlay[1:3, 1:3], mask_pictures.colours(3)[places[0]])
    assert overlay.shape == (4, 4, 4) and overlay[0].sum() == overlay[:, 3].sum() == 0
    assert found["legend"].numpy().tolist() == [
        [f"{i} {colour}".encode() for i, colour in enumerate(mask_pictures.legend(3))]
    ]


@pytest.mark.slow
def test_the_saved_model_draws_for_clients(trained, squares):
    cnn_app.export(trained, ("saved_model",))
    (place,) = (trained / "serving").iterdir()
    signatures = tf.saved_model.load(str(place)).signatures
    data = [(squares / "test" / "images" / f"{i}.png").read_bytes() for i in range(3)]
    found = signatures["image_bytes"](image_bytes=tf.constant(data))
    pixels = np.stack([np.asarray(Picture.open(squares / "test" / "images" / f"{i}.png")) for i in range(3)])
    wanted = open_model(trained).run({"image": pixels})["probabilities"]
    np.testing.assert_array_equal(found["mask"], wanted.argmax(-1))
    plain = signatures["serving_default"](image=tf.constant(pixels))
    np.testing.assert_allclose(plain["probabilities"], wanted, atol=1e-5)
    for i, data in enumerate(found["mask_bytes"].numpy()):
        with Picture.open(io.BytesIO(data)) as mask:
            assert mask.mode == "L" and mask.format == "PNG"
            np.testing.assert_array_equal(mask, wanted[i].argmax(-1))
    overlay = tf.io.decode_png(found["overlay_bytes"][0], 4).numpy()
    np.testing.assert_array_equal(overlay, mask_pictures.colours(2)[wanted[0].argmax(-1)])
    assert [text.decode() for text in found["legend"][0].numpy()] == [
        f"{i} {mask_pictures.legend(2)[i]}" for i in (0, 1)
    ]
    named = tasks.of(open_model(trained)).named({"probabilities": wanted})
    np.testing.assert_array_equal(named["mask"], found["mask"])
    np.testing.assert_allclose(named["scores"], found["scores"], atol=1e-6)
    for own, theirs in zip(named["mask_bytes"], found["mask_bytes"].numpy(), strict=True):
        np.testing.assert_array_equal(*(Picture.open(io.BytesIO(data)) for data in (own, theirs)))
    assert golden.check(place).passed


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_every_format_agrees(trained, squares, tmp_path, padding):
    place = trained
    if padding == "valid":
        place = tmp_path / "valid"
        cnn_app.train("unet", str(squares), place, columns={"width": 4, "depth": 1, "image": (SIDE, SIDE, 3)},
                      schedule=Schedule(epochs=12, batch=4, lr=0.02, augment=()))  # fmt: skip
    found = cnn_app.export(place, tuple(TARGETS), force=True)
    assert [result.target for result in found] == list(TARGETS)
    for result in found:
        assert result.metric == "mean_iou" and result.n == 12
        assert result.agreement > 0.99 and abs(result.drop) < 1, result
        assert result.max_difference < NEAR.get(result.target, 0.25), result
    for entry in ModelDir(place).read_exports():
        runtime = open_model(place / entry["path"])
        assert tasks.of(runtime) == tasks.of(open_model(place)) and golden.check(place / entry["path"]).passed
        side = SIDE if padding == "same" else 16
        assert list(runtime.outputs.values())[0].shape == (None, side, side, 2)


@pytest.mark.slow
def test_other_classes_get_a_new_head(trained, tmp_path):
    data = folder(tmp_path / "data", 4, labels="ground\nthing\nsky\n")
    card = cnn_app.finetune(trained, str(data), tmp_path / "tuned", schedule=Schedule(epochs=1, batch=4, augment=()))
    assert card.labels == ("ground", "thing", "sky") and card.columns["classes"] == 3
    assert cnn_app.load_model(tmp_path / "tuned").output_shape == (None, SIDE, SIDE, 3)


def test_arrays_of_masks_train(tmp_path):
    rng = np.random.default_rng(0)
    images, places = map(np.stack, zip(*(scene(rng, 16) for _ in range(24)), strict=True))
    splits = {"train": (images, places), "val": (images[:4], places[:4])}
    columns = {"width": 2, "depth": 1, "padding": "same", "image": (16, 16, 3)}
    card = cnn_app.train(
        "unet", sources.arrays(splits, ("ground", "thing"), target="mask"), tmp_path / "m", columns=columns,
        task={"loss": "both"}, schedule=Schedule(epochs=1, batch=8, augment=(), class_weights="balanced"),
    )  # fmt: skip
    assert card.options["loss"] == "both" and card.data["source"] == "arrays" and card.labels == ("ground", "thing")


def test_values_of_options():
    with pytest.raises(RecipeError, match="from 0 to 255"):
        Segmentation(input=Image((4, 4, 3)), ignore=True)
    task = Segmentation(input=Image((4, 4, 3)), labels=("a", "b"), loss="dice", ignore=0)
    assert tasks.of_facts(json.loads(json.dumps(tasks.facts(task)))) == task
    with pytest.raises(ModelError):
        cnn_app.create_model("unet", image=(33, 33, 3), padding="same")


def test_colours_of_classes():
    for classes in (2, 3, 10, 20, 21, 254):
        found = mask_pictures.colours(classes)
        assert found.shape == (classes, 4) and found.dtype == np.uint8
        assert len({tuple(row) for row in found}) == classes or classes > 200
        assert (found[:, 3] == 255).all() or classes == 2
    assert mask_pictures.colours(2)[0, 3] == 0  # the ground is seen through
