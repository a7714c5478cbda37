"""The study of Yosinski et al.: what is transplanted, what stays, and that finished cells are not run again."""

import csv
import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import cnn_app
from cnn_app.cli.main import cli
from cnn_app.data import pipeline
from cnn_app.errors import CnnAppError, RecipeError
from cnn_app.inputs.image import Image as Pixels
from cnn_app.recipe import Data, Recipe, Schedule, Transferability
from cnn_app.tasks.classification import Classification
from cnn_app.transfer import transferability

pytestmark = pytest.mark.slow  # its fixture trains eleven networks
STUDY = Transferability(first=("0", "2", "4", "6", "8"), pictures=100, held_out=50, seeds=2)
RECIPE = Recipe(
    name="study", kind="study", data=Data(source="digits"),
    model={"name": "resnet20", "depths": (1, 1), "image": (16, 16, 1)},
    schedule=Schedule(epochs=2, batch=50, lr=0.003), transferability=STUDY,
)  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    directory = tmp_path_factory.mktemp("store") / "study"
    return directory, transferability.run(RECIPE, directory)


def test_every_cell_is_there_once(study):
    """n = 0 is one network that learns B alone; 1 to 3 are the stem and two units, kept and tuned."""
    directory, rows = study
    assert [(row["seed"], row["n"], row["kind"]) for row in rows] == [
        (seed, n, kind) for seed in (0, 1) for n in range(4) for kind in ("frozen", "tuned") if n or kind == "tuned"
    ]
    assert [row["place"] for row in rows[:2]] == ["", "stem"] and rows[-1]["place"] == "stage2_unit1"
    assert all(0 < row["top1"] <= 1 for row in rows)
    with open(directory / "cells.csv") as file:
        assert [float(row["top1"]) for row in csv.DictReader(file)] == [row["top1"] for row in rows]
    with Image.open(directory / "transferability.png") as drawn:
        assert drawn.format == "PNG" and drawn.width > 800


def test_a_finished_cell_is_not_run_again(study, monkeypatch):
    directory, rows = study
    lost = directory / "cells" / "seed1-02-frozen.json"
    before = {path.name: path.stat().st_mtime_ns for path in (directory / "cells").iterdir()}
    lost.unlink()
    fitted = []
    fit = transferability.fit
    monkeypatch.setattr(transferability, "fit", lambda *arguments: fitted.append(arguments) or fit(*arguments))
    assert transferability.run(RECIPE, directory) == rows
    after = {path.name: path.stat().st_mtime_ns for path in (directory / "cells").iterdir()}
    assert len(fitted) == 1 and {name for name in after if after[name] != before[name]} == {lost.name}


def test_other_settings_are_refused_beside_old_cells(study):
    directory, _ = study
    with pytest.raises(RecipeError, match=r"cells of another schedule, .*--overwrite starts anew"):
        transferability.run(replace(RECIPE, schedule=Schedule(epochs=3)), directory)


def test_transplanted_stages_are_copied_and_kept():
    source, target = (cnn_app.create_model("resnet20", depths=(1, 1), image=(8, 8, 1), classes=5) for _ in "ab")
    places = transferability.stages(source)
    assert places == ["stem", "stage1_unit1", "stage2_unit1"]
    second = halves()[1]
    kept = transferability.transplant(source, target, places[:2])
    random = target.get_layer("stage2_unit1_a_conv").get_weights()[0]
    transferability.fit(target, second, RECIPE.schedule, kept)
    for layer in source.layers:
        pairs = zip(layer.get_weights(), target.get_layer(layer.name).get_weights(), strict=True)
        same = [np.array_equal(a, b) for a, b in pairs]
        assert all(same) if layer.name.startswith(("stem", "stage1")) else not (same and all(same)), layer.name
    assert not np.array_equal(target.get_layer("stage2_unit1_a_conv").get_weights()[0], random)


def digits():
    task = Classification(input=Pixels((8, 8, 1)))
    dataset = task.load(Data(source="digits"))
    return task.fitted(dataset), pipeline.prepare(dataset, task.converters())


def halves(first=STUDY.first):
    return transferability.halves(*digits(), first, 100, 50)


def test_the_halves_share_no_class_and_are_even():
    first, second = halves()
    assert first.task.labels == ("0", "2", "4", "6", "8") and second.task.labels == ("1", "3", "5", "7", "9")
    for half in (first, second):
        assert np.bincount(places(half.train)).tolist() == [20] * 5
        assert np.bincount(places(half.test)).tolist() == [10] * 5
    whole, dataset = digits()
    names = {name: whole.labels[place] for split in dataset.splits.values()
             for name, place in zip(split.names, places(split), strict=True)}  # fmt: skip
    assert all(names[name] == second.task.labels[place]
               for name, place in zip(second.train.names, places(second.train), strict=True))  # fmt: skip
    assert transferability.halves(whole, dataset, (), 100, 50)[0].task.labels == first.task.labels


def places(split):
    return split.targets["class"].array


def test_intervals_by_hand():
    """0.90 and 0.94: mean 0.92, standard error 0.02, and t of one degree of freedom 12.706."""
    rows = [{"seed": s, "n": 1, "kind": "frozen", "top1": v} for s, v in ((0, 0.90), (1, 0.94))]
    rows += [{"seed": 0, "n": 0, "kind": "tuned", "top1": 0.8}]
    found = transferability.intervals(rows, "frozen")
    assert found[0] == (0, 0.8, 0.0) and found[1][:2] == (1, pytest.approx(0.92))
    assert found[1][2] == pytest.approx(0.02 * 12.7062, rel=1e-4)


def test_the_command_shows_the_table_and_refuses_wrong_recipes(study, tmp_path):
    directory, rows = study
    text = f"""
name = "study"
model = {{name = "resnet20", depths = [1, 1]}}
data = {{source = "digits", image = [16, 16, 1]}}
schedule = {{epochs = 2, batch = 50, lr = 0.003}}
transferability = {{first = {list(STUDY.first)}, pictures = 100, held_out = 50, seeds = 2}}
"""
    (tmp_path / "study.toml").write_text(text)
    arguments = ["run", str(tmp_path / "study.toml"), "--store", str(directory.parent)]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0 and len(re.findall(r"0\.\d{4} ± 0\.\d{4}|1\.0000 ± 0\.0000", result.stdout)) == 8
    assert json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).stdout) == rows
    (tmp_path / "both.toml").write_text(text + "export = {targets = ['onnx']}\n")
    refused = CliRunner().invoke(cli, ["run", str(tmp_path / "both.toml"), "--store", os.devnull])
    assert refused.exit_code == 1 and "has no [transfer], [export] or [acceptance]" in refused.stderr
    with pytest.raises(CnnAppError, match="no class named 'ten'"):
        halves(("ten",))
    with pytest.raises(RecipeError, match="two classes on either side, received 1 and 9"):
        halves(("1",))
