"""Networks side by side: counts and accuracies against what is known of them, charts, and times."""

import json

import pytest
from click.testing import CliRunner
from PIL import Image

import cnn_app
from cnn_app.analysis import comparison
from cnn_app.architectures.reference import REFERENCE
from cnn_app.cli.main import cli

SHAPES = "tests/compat/store/shapes"


def run(*arguments):
    return CliRunner().invoke(cli, ["compare", *map(str, arguments)])


def test_counts_and_accuracies(tmp_path):
    result = run("resnet20", "lenet5", SHAPES, "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    resnet, lenet, shapes = told["networks"]
    for one in (resnet, lenet):
        known = REFERENCE[one["name"]]
        assert (one["parameters"], one["macs"]) == (known.parameters, known.macs)
    assert resnet["accuracy"] == {"top1": 91.25, "data": "CIFAR-10", "source": "paper"}
    assert lenet["accuracy"] is None
    assert shapes["accuracy"]["top1"] == pytest.approx(80.952, abs=0.001) and shapes["accuracy"]["data"] == "shapes"
    assert [row["name"] for row in lenet["layers"]] == ["c1", "c3", "c5", "f6", "logits"]
    assert sum(row["macs"] for row in resnet["layers"]) == resnet["macs"] and told["speeds"] == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "accuracy.png", "accuracy.svg", "layers.png", "layers.svg",
    ]  # fmt: skip
    assert "shapes" in (tmp_path / "accuracy.svg").read_text() or "<path" in (tmp_path / "accuracy.svg").read_text()
    with Image.open(tmp_path / "layers.png") as chart:
        assert min(chart.size) > 500


def test_the_table_of_a_reader():
    result = run("lenet5")
    assert result.exit_code == 0 and "61,706" in result.stdout and "416,520" in result.stdout


def test_families_are_joined_and_versions_are_not():
    names = "resnet18 resnext50_32x4d seresnet50 vgg16_bn mobilenet_v1 lenet5 googlenet plain110".split()
    assert [comparison.family_of(name) for name in names] == [
        "resnet", "resnext", "seresnet", "vgg", "mobilenet_v1", "lenet", "googlenet", "plain",
    ]  # fmt: skip


def test_many_layers_are_drawn_by_stages_and_one_accuracy_draws_nothing(tmp_path):
    found = cnn_app.compare(["resnet32"], out=tmp_path)
    assert len(found.networks[0].layers) <= comparison.MOST_BARS
    assert [path.name for path in found.charts] == ["layers.png", "layers.svg"]


@pytest.mark.parametrize(("given", "told"), [
    (["resnet21"], "no model named 'resnet21'"),
    (["lenet5", "lenet5"], "lenet5 is given twice"),
    (["tests"], "no model at tests"),
])  # fmt: skip
def test_what_cannot_be_compared(tmp_path, given, told):
    result = run(*given, "--out", tmp_path / "charts")
    assert result.exit_code == 1 and told in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "charts").exists()


@pytest.mark.slow
def test_times_of_every_format():
    result = run("lenet5", SHAPES, "--measure", "--json")
    assert result.exit_code == 0, result.output
    speeds = json.loads(result.stdout)["speeds"]
    assert list(speeds) == ["lenet5", SHAPES]
    for kinds in speeds.values():
        assert list(kinds) == ["keras", "tflite-float32", "tflite-int8", "onnx"]
        assert all(speed["median_ms"] > 0 for speed in kinds.values()) and kinds["tflite-int8"]["delegates"] == 1
