"""Which record is for training, for choosing the checkpoint, and for testing."""

import csv
import json
import os
import re
import shutil
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import cnn_app
from cnn_app import inputs
from cnn_app.artifacts import ModelDir
from cnn_app.cli.main import cli
from cnn_app.data import division
from cnn_app.data.dataset import SPLITS, Split, called, in_memory
from cnn_app.data.division import by_class, by_name, counts, split_of
from cnn_app.errors import DataError, RecipeError
from cnn_app.jobs import sources
from cnn_app.jobs.finetune import prepare
from cnn_app.recipe import Data, Recipe, Schedule, Transfer
from cnn_app.runtimes.about import About
from cnn_app.tasks.classification import Classification
from cnn_app.tasks.segmentation import Segmentation
from cnn_app.toml_tables import parse

QUICK = Schedule(epochs=1, batch=8)
SMALL = {"image": (32, 32, 1)}

percents = st.tuples(st.integers(1, 98), st.integers(1, 98)).filter(lambda pair: sum(pair) < 100).map(
    lambda pair: (*pair, 100 - sum(pair))
)  # fmt: skip
sizes = st.lists(st.integers(0, 40), min_size=2, max_size=5).filter(any)


def photos(root, **classes):
    """a=3 draws a/0.png to 2.png."""
    for place, count in classes.items():
        folder = root.joinpath(*place.split("_"))
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            shade = 80 * (ord(place[-1]) - ord("a"))
            Image.new("RGB", (16, 16), (shade, number, 0)).save(folder / f"{number}.png")
    return root


def load(source, **more):
    return Classification(input=inputs.named("image")((16, 16, 1))).load(Data(source=str(source), **more))


def names(dataset):
    return {name: sorted(split.names) for name, split in dataset.splits.items()}


def records(lengths, prefix=""):
    """Names alone, with classes of these lengths: (split, classes)."""
    labels = [(f"{prefix}{place}/{i}.png", place) for place, n in enumerate(lengths) for i in range(n)]
    classes = np.array([place for _, place in labels], np.int64)
    return Split([name for name, _ in labels], {}, {"class": in_memory(classes)}), classes


def divide(lengths, shares, seed=0, prefix=""):
    split, classes = records(lengths, prefix)
    return by_class(split, dict(zip(SPLITS, map(Fraction, shares), strict=True)), seed, classes)


def invoked(*arguments):
    return CliRunner().invoke(cli, list(map(str, arguments)))


# The rule


@given(sizes, percents, st.integers(0, 3))
def test_every_class_of_three_is_in_every_split_and_nothing_is_lost(lengths, shares, seed):
    found = divide(lengths, shares, seed)
    assert sorted(sum((split.names for split in found.values()), [])) == sorted(records(lengths)[0].names)
    for name, split in found.items():
        there = Counter(split.targets["class"].array.tolist())
        assert all(there[place] >= 1 for place, n in enumerate(lengths) if n >= 3), name
    kept = set(found["train"].targets["class"].array.tolist())
    assert kept == {place for place, n in enumerate(lengths) if n}  # no class is for testing alone


@given(st.integers(1, 500), percents)
def test_shares_hold_to_one_record(n, shares):
    found = counts(n, shares)
    assert sum(found) == n and min(found) >= 0
    if n * min(shares) >= 100:  # else some split has its one record and others less
        assert all(abs(count - n * share / 100) <= 1 for count, share in zip(found, shares, strict=True))


def test_shares_by_hand():
    """Test and val of 100, 20, 12, 3, 2 and 1: stops at 15 % and 30 %, rounded."""
    assert [counts(n, (15, 15, 70)) for n in (100, 20, 12, 3, 2, 1)] == [
        [15, 15, 70], [3, 3, 14], [2, 2, 8], [1, 1, 1], [0, 1, 1], [0, 0, 1],
    ]  # fmt: skip
    assert counts(20, (15, 70)) == [4, 16] and counts(2, (1, 99)) == [1, 1]


@given(sizes, percents, st.integers(0, 2))
def test_one_record_more_moves_at_most_one_over_each_border(lengths, shares, seed):
    """And of its own class alone."""
    more = [lengths[0] + 1, *lengths[1:]]
    before, after = ({name: k for k, part in enumerate(SPLITS) for name in divide(n, shares, seed)[part].names}
                     for n in (lengths, more))  # fmt: skip
    moved = [(before[name], after[name]) for name in before if before[name] != after[name]]
    assert all(name.startswith("0/") for name in before if before[name] != after[name])
    if lengths[0] >= 3:
        for border in (0.5, 1.5):
            assert sum(min(pair) < border < max(pair) for pair in moved) <= 1


def test_the_whole_name_and_the_seed_decide():
    """a/0.png and b/0.png went the same way in 0.1.0."""
    first = divide([400, 400], (70, 15, 15))["test"].names
    ways = [{name[2:] for name in first if name[0] == place} for place in "01"]
    assert len(ways[0] & ways[1]) < 25  # 9 of 60 by chance
    assert divide([400, 400], (70, 15, 15), seed=1)["test"].names != first
    assert divide([400, 400], (70, 15, 15))["test"].names == first


def test_the_order_never_changes():
    """A change here moves records that models were trained on into their test.

    By `printf %s 0/0/3.png | sha256sum`: 3 0 1 4 2 5 in the first class, 2 1 0 in the second.
    """
    found = divide([6, 3], (70, 15, 15))
    assert {name: split.names for name, split in found.items()} == {
        "train": ["0/1.png", "0/2.png", "0/4.png", "0/5.png", "1/0.png"],
        "val": ["0/0.png", "1/1.png"], "test": ["0/3.png", "1/2.png"],
    }  # fmt: skip


# The rule of 0.1.0


def test_the_old_rule_is_what_it_was():
    fixed = {"0.png": "test", "1.png": "train", "2.png": "val", "3.png": "train", "cat.jpg": "test", "ü.png": "train"}
    assert {name: split_of(name) for name in fixed} == fixed
    counted = [split_of(f"image {number}") for number in range(10_000)]
    assert abs(counted.count("val") - 1500) < 110 and abs(counted.count("test") - 1500) < 110  # three sigma
    split, _ = records([4, 4])
    assert {name: part.names for name, part in by_name(split).items()} == {
        "train": ["0/1.png", "0/3.png", "1/1.png", "1/3.png"],
        "val": ["0/2.png", "1/2.png"], "test": ["0/0.png", "1/0.png"],
    }  # fmt: skip


def test_old_shares_that_are_not_wanted_go_to_train():
    """Also where no name falls into train by itself: 2 is in val, 0 in test."""
    whole = Split(["a/2.png", "a/0.png", "b/0.png"], {"x": in_memory(np.arange(3))})
    divided = by_name(whole, ("train", "val"))
    assert {name: split.names for name, split in divided.items()} == {
        "train": ["a/0.png", "b/0.png"],
        "val": ["a/2.png"],
    }


def test_digits_of_old_are_divided_as_on_the_card_of_0_1_0():
    card = json.loads((Path(__file__).parent / "compat/resume/digits/card.json").read_text())
    found = load("digits", split="by-name")
    assert found.fingerprint() == card["data"]["fingerprint"] and found.counts() == card["data"]["counts"]
    assert found.division == {"rule": "name"} and load("digits").fingerprint() != found.fingerprint()


def test_a_class_that_train_would_lack_by_the_old_rule(tmp_path):
    with pytest.raises(DataError, match="train has nothing of b; add some or remove the class"):
        load(photos(tmp_path, a=20, b=1), split="by-name")  # 0.png falls into test
    assert load(tmp_path).counts() == {"train": 15, "val": 3, "test": 3}


# Options


@pytest.mark.parametrize("text", ["80/10", "80/10/20", "100/0/0", "-10/60/50", "80/10/x", "", "1e1/45/45", "70/15/15/0",
                                  "33.3/33.3/33.3", "nan/50/50", "80 / 10 / 10"])  # fmt: skip
def test_shares_that_are_none(text):
    with pytest.raises(RecipeError, match=r"split is train/val/test in percent, above 0 and 100 together.*received"):
        Data(source="digits", split=text)


def test_shares_may_be_decimal_and_sum_up_exactly(tmp_path):
    found = load(photos(tmp_path, a=10, b=30), split="33.4/33.3/33.3", split_seed=7)
    assert found.division == {"rule": "class", "shares": [33.4, 33.3, 33.3], "seed": 7}
    assert found.counts() == {"train": 13, "val": 14, "test": 13}
    assert division.as_given(found.division) == {"split": "33.4/33.3/33.3", "split_seed": 7}


def test_recipes_have_shares():
    told = {
        "name": "x",
        "model": {"name": "lenet5"},
        "data": {"source": "digits", "split": "80/10/10", "split_seed": 2},
    }
    assert parse(Recipe, told, "the recipe").data == Data(source="digits", split="80/10/10", split_seed=2)
    with pytest.raises(RecipeError, match="split_seed lies between"):
        Data(source="digits", split_seed=-1)


def test_folders_win_and_val_is_divided_off_by_train_and_val(tmp_path):
    photos(tmp_path, train_a=40, train_b=20, test_a=2)
    found = load(tmp_path, split="60/20/20")
    assert found.counts() == {"train": 45, "val": 15, "test": 2}  # a quarter
    assert np.bincount(found.splits["val"].targets["class"].array).tolist() == [10, 5]
    photos(tmp_path, val_a=1, val_b=1)
    assert load(tmp_path, split="60/20/20").counts() == {"train": 60, "val": 2, "test": 2}
    assert load(tmp_path).division == {"rule": "own"}


def test_masks_are_divided_as_one_class(tmp_path):
    for number in range(20):
        for kind in ("images", "masks"):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(np.eye(16, dtype=np.uint8) * 255).save(tmp_path / kind / f"{number}.png")
    task = Segmentation(input=inputs.named("image")((16, 16, 1)))
    found = task.load(Data(source=str(tmp_path), split="50/25/25"))
    assert found.counts() == {"train": 10, "val": 5, "test": 5}
    division.write_table(tmp_path / "splits.csv", found.splits.items())
    again = task.load(Data(source=str(tmp_path)))
    assert names(again) == names(found) and again.division == {"rule": "file"}
    assert again.fingerprint() == found.fingerprint()


# splits.csv


def written(root, splits):
    rows = [{"file": name, "split": part} for part, found in splits.items() for name in found]
    with (root / "splits.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["file", "split"])
        writer.writeheader()
        writer.writerows(rows)


def test_a_table_wins_over_rule_and_folders(tmp_path):
    photos(tmp_path, train_a=3, train_b=2, val_a=1, test_b=1)
    wanted = {"train": ["test/b/0.png", "val/a/0.png"], "val": ["train/a/0.png", "train/b/0.png"],
              "test": ["train/a/1.png", "train/a/2.png", "train/b/1.png"]}  # fmt: skip
    written(tmp_path, wanted)
    found = load(tmp_path, split="80/10/10")
    assert names(found) == wanted and found.labels == ("a", "b") and found.division == {"rule": "file"}
    labels = {name: found.labels[i] for split in found.splits.values()
              for name, i in zip(split.names, split.targets["class"].array, strict=True)}  # fmt: skip
    assert all(name.split("/")[1] == label for name, label in labels.items())


@pytest.mark.parametrize("folders", [{"a": 9, "b,\"quoted\"": 7, "ü": 5}, {"train_a": 3, "train_b": 3, "val_a": 2},
                                     {"train_a": 9, "train_b": 9, "test_a": 2}])  # fmt: skip
def test_a_written_table_gives_the_same_splits(tmp_path, folders):
    found = load(photos(tmp_path, **folders), split="60/20/20")
    division.write_table(tmp_path / "splits.csv", found.distinct().items())
    again = load(tmp_path)
    assert names(again) == names(found)
    assert again.fingerprint() == found.fingerprint()
    assert (again.splits["test"] is again.splits["val"]) == (found.splits["test"] is found.splits["val"])


LINES = ["file,split", *(f"{c}/{i}.png,{'train' if i < 2 else 'val'}" for c in "ab" for i in range(4))]


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (5, "a/3.png,vla", "splits.csv:5 has the split 'vla'; one of train, val, test is needed"),
        (5, "", "splits.csv:5 is empty; remove it"),
        (5, ",", "splits.csv:5 is empty; remove it"),
        (5, "a/2.png,test", "splits.csv:5 lists 'a/2.png', which line 4 has"),
        (5, "a/7.png,val", "splits.csv:5 names 'a/7.png', which is no record here"),
        (5, "../secret.png,val", "splits.csv:5 names '../secret.png', which is no record here"),
        (5, "a/3.png", "splits.csv:5 has 1 columns"),
        (5, "a/3.png,val,1", "splits.csv:5 has 3 columns"),
        (5, 'a/3.png,"val', "is no CSV"),
        (1, "name,part", "splits.csv:1 is 'name,part'; the first line is file,split"),
        (5, None, "splits.csv does not list a/3.png; add a line"),
    ],
)
def test_lines_of_a_table_that_are_wrong(tmp_path, line, text, message):
    photos(tmp_path, a=4, b=4)
    lines = [*LINES[: line - 1], *([] if text is None else [text]), *LINES[line:]]
    (tmp_path / "splits.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "splits.csv:1 is ''"),
        (b"\xff\xfe", "splits.csv is not UTF-8"),
        (b"file,split\n" + b"x" * 200_000 + b",val\n", "is no CSV"),
        (b"file,split\n" + b"a/0.png,train\n", "splits.csv does not list a/1.png and 6 more; add a line"),
        ("\n".join(line.replace(",val", ",train") for line in LINES).encode(), "puts no record into val"),
        ("\n".join(line.replace(",train", ",test") for line in LINES).encode(), "puts no record into train"),
        ("\n".join(LINES).replace("b/0.png,train", "b/0.png,val").replace("b/1.png,train", "b/1.png,val").encode(),
         "train has nothing of b"),
    ],
)  # fmt: skip
def test_tables_that_are_none(tmp_path, data, message):
    photos(tmp_path, a=4, b=4)
    (tmp_path / "splits.csv").write_bytes(data)
    with pytest.raises(DataError, match=re.escape(message)):
        load(tmp_path)


def test_a_table_may_have_a_mark_in_front_and_lines_of_windows(tmp_path):
    photos(tmp_path, a=4, b=4)
    (tmp_path / "splits.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(LINES).encode())
    found = load(tmp_path)
    assert found.counts() == {"train": 4, "val": 4, "test": 4} and found.division == {"rule": "file", "test": "val"}


def test_a_table_that_is_too_large(tmp_path, monkeypatch):
    photos(tmp_path, a=4, b=4)
    (tmp_path / "splits.csv").write_text("\n".join(LINES))
    monkeypatch.setattr(division, "MAX_TABLE_BYTES", 100)
    with pytest.raises(DataError, match="splits.csv is larger than 0 MiB"):
        load(tmp_path)


def test_a_table_divides_sentences(tmp_path):
    for label in ("neg", "pos"):
        (tmp_path / f"{label}.txt").write_text("".join(f"{label} {i}\n" for i in range(4)))
    task = Classification(input=inputs.named("text")(24, 50))
    wanted = {part: [f"{label}.txt:{i + 1}" for label in ("neg", "pos") for i in found]
              for part, found in (("train", (0, 3)), ("val", (1,)), ("test", (2,)))}  # fmt: skip
    written(tmp_path, wanted)
    found = task.load(Data(source=str(tmp_path)))
    assert names(found) == wanted and found.labels == ("neg", "pos")


# Models keep the split that they were trained by


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder, and a model of it by other shares than the usual ones."""
    place = tmp_path_factory.mktemp("split")
    folder = photos(place / "photos", a=12, b=12, c=8)
    data = Data(source=str(folder), split="50/25/25", split_seed=3)
    card = cnn_app.train("lenet5", data, place / "model", columns=SMALL, schedule=QUICK)
    return folder, ModelDir(place / "model"), card


@pytest.mark.slow
def test_the_card_and_a_table_say_how_it_was_divided(model):
    folder, directory, card = model
    assert card.data["split"] == {"rule": "class", "shares": [50, 25, 25], "seed": 3}
    assert "split_seed" not in card.data and card.metrics["test"]["n"] == 8 and "split" not in card.metrics["test"]
    rows = list(csv.DictReader(directory.splits.read_text().splitlines()))
    wanted = names(load(folder, split="50/25/25", split_seed=3))
    assert {part: [row["file"] for row in rows if row["split"] == part] for part in SPLITS} == wanted


@pytest.mark.slow
def test_evaluating_and_exporting_use_the_rule_of_the_card(model):
    folder, directory, card = model
    _, dataset = sources.for_model(directory, None)
    assert dataset.fingerprint() == card.data["fingerprint"]
    for data in (str(folder), Data(source=str(folder))):
        assert sources.for_model(directory, data)[1].fingerprint() == card.data["fingerprint"]
    found = cnn_app.evaluate(directory.path, str(folder))
    assert found.report.metrics == pytest.approx(card.metrics["test"])
    assert cnn_app.evaluate(directory.path / "model.keras", str(folder)).report.n == 8  # the file says it, too
    given = invoked("evaluate", directory.path, "--data", folder, "--split-shares", "20/20/60", "--json")
    assert json.loads(given.stdout)["n"] == 19
    told = invoked("evaluate", directory.path, "--data", folder, "--split", "val", "--json")
    assert json.loads(told.stdout)["n"] == 8


def test_a_model_without_a_rule_is_of_0_1_0(tmp_path):
    """And what was never trained by us has none."""
    old = About(task="classification", input={}, data_sha256="x")
    assert sources.divided_as(Data(source="digits"), None, old) == Data(source="digits", split="by-name")
    assert sources.divided_as(Data(source="digits", split="80/10/10"), old).split == "80/10/10"
    assert sources.divided_as(Data(source="digits"), About(task="classification", input={})).split is None


@pytest.mark.parametrize("split", [{"rule": "moon"}, {"rule": "class"}, {"rule": "class", "shares": 3, "seed": 0},
                                   {"rule": "class", "shares": ["a"], "seed": 0}, {"shares": []}])  # fmt: skip
def test_a_rule_that_makes_no_sense_or_is_of_a_later_version(split):
    about = About(task="classification", input={}, data_sha256="x", split=split)
    with pytest.raises(DataError, match="which this version does not know; update cnn-app, or say how to divide"):
        sources.divided_as(Data(source="digits"), about)


def test_models_of_other_splits_are_not_measured_together(model, tmp_path):
    folder, directory, card = model
    shutil.copytree(directory.path, tmp_path / "other")
    both = [directory.path, tmp_path / "other"]
    split = {"rule": "class", "shares": [70, 15, 15], "seed": 0}
    ModelDir(both[1]).write_card(replace(card, data=card.data | {"split": split}))
    with pytest.raises(DataError, match="other learned from other splits, so one may have learned what is to test it"):
        cnn_app.evaluate(both, str(folder))
    assert len(cnn_app.evaluate(both, Data(source=str(folder), split="70/15/15")).reports) == 2


@pytest.mark.slow
def test_finetuning_keeps_the_rule_unless_another_is_given(model):
    folder, directory, card = model
    for source, transfer in ((str(directory.path), Transfer()), ("lenet5", Transfer(weights=str(directory.path)))):
        job = prepare(source, {} if source != "lenet5" else SMALL, str(folder), QUICK, transfer)
        assert job.dataset.division == card.data["split"]
    given = prepare(str(directory.path), {}, Data(source=str(folder), split="70/15/15"), QUICK, Transfer())
    assert given.dataset.division["shares"] == [70, 15, 15]


def test_a_resumed_run_keeps_the_rule(model):
    folder, directory, _ = model
    data = sources.resumed(str(folder), directory, resume=True)
    assert data == Data(source=str(folder), split="50/25/25", split_seed=3)
    assert sources.resumed(str(folder), directory, resume=False).split is None
    assert sources.resumed(str(folder), ModelDir(folder / "none"), resume=True).split is None


@pytest.mark.slow
def test_a_table_that_a_model_was_trained_by_must_stay(tmp_path):
    folder = photos(tmp_path / "photos", a=4, b=4)
    (folder / "splits.csv").write_text("\n".join([*LINES[:-1], "b/3.png,test"]))
    card = cnn_app.train("lenet5", str(folder), tmp_path / "model", columns=SMALL, schedule=QUICK)
    assert card.data["split"] == {"rule": "file"} and card.data["counts"] == {"train": 4, "val": 3, "test": 1}
    directory = ModelDir(tmp_path / "model")
    os.remove(folder / "splits.csv")
    for ask in (lambda: sources.for_model(directory, None), lambda: cnn_app.evaluate(directory.path, str(folder))):
        with pytest.raises(DataError, match=r"was trained by .*splits.csv, which is gone; copy .*splits.csv there"):
            ask()
    (folder / "splits.csv").write_bytes(directory.splits.read_bytes())
    assert sources.for_model(directory, None)[1].fingerprint() == card.data["fingerprint"]


# Names of figures


@pytest.mark.slow
def test_figures_of_a_val_that_stands_in_say_so(tmp_path):
    photos(tmp_path / "photos", train_a=6, train_b=6, val_a=2, val_b=2)
    arguments = (
        "train",
        "lenet5",
        "--image",
        "32x32x1",
        "--data",
        tmp_path / "photos",
        "--epochs",
        "1",
        "--batch",
        "8",
    )
    told = invoked(*arguments, "--out", tmp_path / "model")
    assert re.search(r"epoch 1 kept, val \(no test split\) top-1 [01.05]+, top-5 1.0000 of 4\n", told.stdout)
    card = ModelDir(tmp_path / "model").read_card()
    assert card.metrics["test"]["split"] == "val" and card.data["split"] == {"rule": "own", "test": "val"}
    rows = list(csv.DictReader((tmp_path / "model/splits.csv").read_text().splitlines()))
    assert Counter(row["split"] for row in rows) == {"train": 12, "val": 4}
    ask = ("evaluate", tmp_path / "model", "--data", tmp_path / "photos")
    assert (
        "val (no test split)" in invoked(*ask).stdout and json.loads(invoked(*ask, "--json").stdout)["split"] == "val"
    )
    assert "split" not in json.loads(invoked(*ask, "--split", "val", "--json").stdout)
    found = invoked("export", tmp_path / "model", "--to", "tflite-float32", "--max-drop", "100")
    assert found.stdout.startswith("4 records of val (no test split); Keras top-1")
    (line,) = ModelDir(tmp_path / "model").read_exports()
    assert line["split"] == "val" and line["n"] == 4


def test_figures_of_test_are_called_that():
    dataset = load("digits")
    assert dataset.figures("test", {"top1": 1.0}) == {"top1": 1.0}
    assert called({}) == "test" and called({"split": "val"}) == "val (no test split)"


# data check


def test_check_tells_what_a_figure_is_worth(tmp_path):
    photos(tmp_path, a=40, b=5, c=100)
    told = invoked("data", "check", tmp_path)
    assert told.exit_code == 0
    assert "test has 1 record of b: the recall of that class is 0 or 1\n" in told.stdout
    assert "test has 6 records of a: the recall of that class goes in steps of 0.17\n" in told.stdout
    assert "of c:" not in told.stdout and "no test split" not in told.stdout
    more = json.loads(invoked("data", "check", tmp_path, "--split", "40/30/30", "--split-seed", 1, "--json").stdout)
    assert more["counts"]["b"] == {"train": 2, "val": 1, "test": 2} and more["few"] == {"b": 2}
    assert more["division"] == {"rule": "class", "shares": [40, 30, 30], "seed": 1}


def test_check_tells_that_val_stands_in(tmp_path):
    told = invoked("data", "check", photos(tmp_path, train_a=9, train_b=9, val_a=3, val_b=30))
    assert "no test split: val stands in for it" in told.stdout
    assert "val has 3 records of a: the recall" in told.stdout and "of b:" not in told.stdout


def test_check_counts_a_named_source():
    found = json.loads(invoked("data", "check", "shapes", "--json").stdout)
    assert set(found["counts"]) == {"circle", "cross", "square", "star", "triangle"}
    assert all(count == {"train": 140, "val": 30, "test": 30} for count in found["counts"].values())
    assert found["formats"] == found["unreadable"] == found["few"] == {} and found["refusal"] is None
    assert invoked("data", "check", "tfds:nothing_such").exit_code == 1


def test_check_reads_the_table_and_says_what_is_wrong_with_it(tmp_path):
    photos(tmp_path, a=4, b=4)
    (tmp_path / "splits.csv").write_text("\n".join(LINES))
    found = json.loads(invoked("data", "check", tmp_path, "--json").stdout)
    assert found["left_out"] == {} and found["counts"]["a"] == {"train": 2, "val": 2}
    (tmp_path / "splits.csv").write_text("\n".join(LINES[:-1]))
    told = invoked("data", "check", tmp_path)
    assert (
        told.exit_code == 1 and "training would refuse this: " in told.stdout and "does not list b/3.png" in told.stdout
    )
