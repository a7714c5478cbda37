"""Several labels for an image where data are divided, drawn, counted and resized."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image as Picture

import cnn_app
from cnn_app import tasks
from cnn_app.artifacts import ModelDir
from cnn_app.cli.main import cli
from cnn_app.data.dataset import SPLITS
from cnn_app.errors import DataError
from cnn_app.inputs.image import Image
from cnn_app.recipe import Data, Schedule
from cnn_app.tasks import label_tables
from cnn_app.tasks.multilabel import Multilabel

TASK = Multilabel(input=Image((16, 16, 3)))
CLASSIFICATION = tasks.named("classification")(input=TASK.input)


def invoked(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def folder(place, tables, side=16):
    """Images that differ in their grey, each named by a table: {"labels.csv": {"0.png": "cat|dog"}}."""
    grey = iter(range(256))
    for name, lines in tables.items():
        table = place / name
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text("file,labels\n" + "".join(f"{file},{labels}\n" for file, labels in lines.items()))
        for file in lines:
            (table.parent / file).parent.mkdir(parents=True, exist_ok=True)
            Picture.new("L", (side, side), next(grey)).save(table.parent / file)
    return place


def many(place, **lines):
    """100 images, of which 80 show a cat, 40 of these a dog, 10 of these a fox."""
    labels = ["cat|dog|fox"] * 10 + ["cat|dog"] * 30 + ["cat"] * 40 + [""] * 20
    return folder(place, {"labels.csv": {f"{i:02d}.png": one for i, one in enumerate(labels)} | lines})


def names(dataset):
    return {name: set(split.names) for name, split in dataset.distinct().items()}


# --- divided


def test_shares_hold_for_the_rarest_label(tmp_path):
    """10 foxes, 30 dogs without one, 40 cats without these, 20 of nothing: test has 2, 5, 6 and 3 of them."""
    dataset = TASK.load(Data(source=str(many(tmp_path))))
    assert dataset.division == {"rule": "class", "shares": [70, 15, 15], "seed": 0}
    counts = {name: split.targets["labels"].array.sum(0).tolist() for name, split in dataset.splits.items()}
    assert dataset.labels == ("cat", "dog", "fox") and dataset.counts() == {"train": 70, "val": 14, "test": 16}
    assert {name: row[2] for name, row in counts.items()} == {"train": 7, "val": 1, "test": 2}
    assert {name: row[0] for name, row in counts.items()} == {"train": 56, "val": 11, "test": 13}
    other = TASK.load(Data(source=str(tmp_path), split="50/25/25", split_seed=1))
    assert other.counts() == {"train": 50, "val": 24, "test": 26} and other.division["seed"] == 1
    assert names(other)["test"] - names(dataset)["test"]


LAYOUTS = {
    "one table": {"labels.csv": {"train/a.png": "cat|dog", "train/b.png": "dog", "val/c.png": "cat", "val/d.png": ""}},
    "a table in each": {"train/labels.csv": {"a.png": "cat|dog", "b.png": "dog"},
                        "val/labels.csv": {"c.png": "cat", "d.png": ""}},
    "no split": {"labels.csv": {"train-a.png": "cat|dog", "train-b.png": "dog", "val-c.png": "cat", "val-d.png": ""}},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_splits_csv_says_where_images_belong(tmp_path, layout):
    between = "-" if layout == "no split" else "/"
    lines = {"val/c.png": "train", "val/d.png": "val", "train/a.png": "train", "train/b.png": "test"}
    lines = {name.replace("/", between): split for name, split in lines.items()}
    place, table = folder(tmp_path, LAYOUTS[layout]), tmp_path / "splits.csv"
    table.write_text("file,split\n" + "".join(f"{name},{split}\n" for name, split in lines.items()))
    dataset = TASK.load(Data(source=str(place), split="80/10/10"))
    assert {name: split for split, found in names(dataset).items() for name in found} == lines
    assert dataset.labels == ("cat", "dog") and dataset.division == {"rule": "file"}
    assert dict(zip(dataset.splits["train"].names, dataset.splits["train"].targets["labels"].array.tolist(),
                    strict=True)) == {"train/a.png".replace("/", between): [1, 1],
                                      "val/c.png".replace("/", between): [1, 0]}  # fmt: skip
    table.write_text("file,split\ntrain/x.png,train\n")
    with pytest.raises(DataError, match="splits.csv:2 names 'train/x.png', which is no record here"):
        TASK.load(Data(source=str(place)))


def test_tables_with_columns_are_merged(tmp_path):
    """Under splits.csv the folders mean nothing, so no label is one that train lacks."""
    for split, text in (("train", "file,cat\na.png,1\n"), ("val", "file,dog,cat\nb.png,1,0\n")):
        folder(tmp_path, {f"{split}/labels.csv": {f"{'a' if split == 'train' else 'b'}.png": ""}})
        (tmp_path / split / "labels.csv").write_text(text)
    found = label_tables.merged(tmp_path, label_tables.tables(tmp_path, "utf-8").values())
    assert found.classes == ("cat", "dog") and [row.file for row in found.rows] == ["train/a.png", "val/b.png"]
    assert label_tables.matrix(found.rows, found.classes).tolist() == [[1, 0], [0, 1]]


# --- trained, and measured again


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return many(tmp_path_factory.mktemp("several"))


@pytest.fixture(scope="module")
def trained(place, tmp_path_factory):
    out = tmp_path_factory.mktemp("store") / "several"
    schedule = Schedule(epochs=1, batch=16, augment=("strong",))
    cnn_app.train("lenet5", Data(source=str(place), split="50/25/25", split_seed=3), out, task={"name": "multilabel"},
                  schedule=schedule)  # fmt: skip
    return out


@pytest.mark.slow
def test_the_rule_of_a_card_is_that_of_its_measures(trained, place, tmp_path):
    card = ModelDir(trained).read_card()
    assert card.data["split"] == {"rule": "class", "shares": [50, 25, 25], "seed": 3}
    assert card.metrics["test"]["n"] == 26 and card.data["counts"]["train"] == 50
    assert card.recipe["augment"] == [*Schedule(augment=("flip", "resized-crop", "trivialaugment", "erase", "mixup",
                                                         "cutmix")).augment]  # fmt: skip
    found = cnn_app.evaluate(trained, str(place))
    assert found.report.metrics == pytest.approx(card.metrics["test"])
    wanted = TASK.load(Data(source=str(place), split="50/25/25", split_seed=3))
    table = dict(line.split(",") for line in ModelDir(trained).splits.read_text().splitlines()[1:])
    assert {name: {file for file, split in table.items() if split == name} for name in SPLITS} == names(wanted)


def test_a_val_that_stands_in_for_test_says_so(trained, tmp_path):
    tables = {"labels.csv": {f"{split}/{i}.png": "cat|dog|fox" for split in ("train", "val") for i in range(4)}}
    result = invoked("evaluate", trained, "--data", folder(tmp_path, tables), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["split"] == "val"


def test_another_resize_is_measured_and_told(trained, tmp_path):
    """Bars on the left of wide images: in the middle of them there is nothing."""
    folder(tmp_path, {"labels.csv": {f"{split}/{i}.png": "cat|dog|fox" for split in SPLITS for i in range(6)}})
    for i, file in enumerate(sorted(tmp_path.rglob("*.png"))):
        image = np.zeros((32, 96), np.uint8)
        image[:, :24] = 100 + 5 * i
        Picture.fromarray(image).save(file)
    found = {resize: json.loads(invoked("evaluate", trained, "--data", tmp_path, "--resize", resize, "--json").stdout)
             for resize in ("stretch", "crop")}  # fmt: skip
    assert "resize" not in found["stretch"] and found["crop"]["resize"] == "crop"
    assert found["stretch"]["loss"] != found["crop"]["loss"]
    thresholds = [[one["threshold"] for one in told["classes"].values()] for told in found.values()]
    assert thresholds[0] == thresholds[1]


# --- drawn


def test_it_knows_the_augmentations_of_classification():
    assert TASK.augmentations == CLASSIFICATION.augmentations and "cutmix" in TASK.augmentations


@pytest.mark.parametrize(("shares", "told"), [
    ((1, 0, 1, 0), "cat\na label that is far too..."),
    ((0.25, 1, 0, 0.75), "dog\nfox 75%\ncat 25%"),
    ((0, 0, 0, 0), "no label"),
])  # fmt: skip
def test_captions_by_hand(shares, told):
    task = Multilabel(input=TASK.input, labels=("cat", "dog", "a label that is far too long for a caption", "fox"))
    image = np.zeros((16, 16, 3), np.uint8)
    shown, caption = task.shown({"image": image}, {"labels": np.array(shares, np.float32)})
    assert shown is image and caption == told and task.key == {}


@pytest.mark.parametrize("source", ["shapes:many", "a folder"])
def test_a_sheet_is_drawn(place, tmp_path, source):
    out = tmp_path / "sheet.png"
    spec = place if source == "a folder" else source
    common = ("data", "show", spec, "--image", 32, "--n", 4, "--augment", "flip,cutmix", "--out", out)
    refused = invoked(*common)
    assert refused.exit_code == 1 and not out.exists()
    result = invoked(*common, "-t", "name=multilabel")
    assert result.exit_code == 0 and result.stdout == f"{out}: flip, cutmix\n", result.output
    with Picture.open(out) as picture:
        assert picture.format == "PNG" and picture.width > 1000


# --- counted


def checked(spec):
    result = invoked("data", "check", spec, "--json")
    return result.exit_code, json.loads(result.stdout)


def test_labels_are_counted(tmp_path):
    place = many(tmp_path)
    (place / "extra.png").write_bytes((place / "00.png").read_bytes())
    (place / "note.txt").write_text("")
    code, found = checked(place)
    assert code == 0 and found["unlabelled"] == 20 and found["formats"] == {"PNG": 100}
    assert found["counts"]["fox"] == {"train": 7, "val": 1, "test": 2} and sum(found["counts"]["cat"].values()) == 80
    assert found["few"] == {"fox": 2, "dog": 7} and found["left_out"] == {".png": 1, ".txt": 1}
    told = invoked("data", "check", place).stdout
    assert "label" in told and "not listed: 1 .png, 1 .txt" in told and "without a label: 20" in told
    code, found = checked("shapes:many")
    assert code == 0 and found["unlabelled"] == 0 and set(found["counts"]) == {"circle", "cross", "square", "star",
                                                                             "triangle"}  # fmt: skip


def test_equal_images_with_different_labels_are_told(tmp_path):
    tables = {f"{split}/labels.csv": {"a.png": "cat|dog", "b.png": "dog", "c.png": "cat"} for split in ("train", "val")}
    place = folder(tmp_path, tables)
    for name in ("train/b.png", "val/c.png"):
        (place / name).write_bytes((place / "train" / "a.png").read_bytes())
    (place / "val" / "b.png").write_bytes(b"no image")
    code, found = checked(place)
    paths = [[str(place / name) for name in ("train/a.png", "train/b.png", "val/c.png")]]
    assert code == 1 and found["conflicts"] == found["duplicates"] == paths
    assert list(found["unreadable"]) == [str(place / "val" / "b.png")] and found["left_out"] == {}
    assert "with different labels: " in invoked("data", "check", place).stdout


@pytest.mark.parametrize(("header", "several"), [
    ("file,labels", True), ("\ufefflabels, file", True), ('"file",cat', True), ("ClassId,Name", False), ("", False),
])  # fmt: skip
def test_a_table_is_told_by_its_header(tmp_path, header, several):
    """Class folders may have a labels.csv of another kind beside them."""
    (tmp_path / "labels.csv").write_text(header + "\n0,stop\n", encoding="utf-8")
    assert label_tables.there(tmp_path) == several


def test_a_table_that_is_wrong_is_one_line(tmp_path):
    result = invoked("data", "check", folder(tmp_path, {"labels.csv": {"a.png": "", "b.png": ""}}))
    assert result.exit_code == 1 and "has no label at all" in result.stderr and result.stderr.count("\n") == 1
