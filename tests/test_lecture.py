"""The lecture's figures: what is computed here against what was measured elsewhere, and the command."""

import json

from click.testing import CliRunner
from PIL import Image

import cnn_app
from cnn_app.analysis.complexity import complexity
from cnn_app.analysis.lecture import topic
from cnn_app.analysis.unweighted import network
from cnn_app.cli.main import cli


def cells(name, row=0):
    """Rows by their first cell."""
    return {found[row]: found[row + 1 :] for found in topic(name).rows}


def test_the_lectures_own_numbers_come_out():
    assert cells("output_volume")["32x32x3, 6 filters of 5x5"] == ("28x28x6", "28x28x6")
    assert cells("pooling")["largest of 2x2, stride 2"] == ("[[6, 8], [3, 4]]",) * 2
    assert [row[1:3] for row in topic("dilation").rows] == [("3", "3"), ("7", "7"), ("15", "15")]
    assert all(row[1] == row[2] for row in topic("small_filters").rows if row[1])
    assert all(row[1] == row[2] for row in topic("mobilenet").rows)
    assert [row[2] for row in topic("one_by_one").rows] == ["equal", "equal"]
    assert cells("transposed")["the transposed matrix of that convolution gives"] == ("the same",)


def test_totals_and_googlenet_as_measured_elsewhere():
    """Conventions and the network that is meant: golden/NOTES."""
    found = cells("totals")
    assert found["AlexNet, one weird trick"] == ("61 M", "61,100,840", "0.7 G", "716,767,232", "1.9", "1.88")
    assert found["VGG-16"][1::2] == ("138,357,544", "15,470,264,320", "51.68")
    assert found["VGG-16 less one convolution of stage 3"][1::2] == ("137,767,464", "13,620,576,256", "48.62")
    rows = cells("googlenet")
    assert rows["conv1"] == ("2.7", "9.19", "34", "118,013,952", "differs")
    assert rows["conv2"] == ("112", "112.00", "360", "359,661,568", "as rounded")
    assert rows["inception5a"] == ("1072", "1,018.00", "54", "51,079,168", "differs")
    assert rows["total"][1:4:2] == ("6,826.44", "1,582,671,872")


def test_resnext_and_fields():
    assert [row[2:5] for row in topic("resnext").rows] == [("23.932", "69,888", "+256"), ("3.973", "70,144", "+512")]
    fields = {name: row[-1] for name, row in cells("receptive_field").items()}
    assert [fields[f"{name}, the last map"] for name in ("alexnet", "vgg16", "googlenet")] == ["195", "212", "715"]


def test_a_network_for_counting_is_the_same_without_its_weights():
    counted, real = (
        network("shufflenet_v1", image=(64, 64, 3)),
        cnn_app.create_model("shufflenet_v1", image=(64, 64, 3)),
    )
    assert complexity(counted) == complexity(real) and not any(weight.numpy().any() for weight in counted.weights)


def test_the_command(tmp_path):
    result = CliRunner().invoke(
        cli, ["lecture", "dilation", "convolution", "mobilenet", "--out", str(tmp_path), "--json"]
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert [one["topic"] for one in told] == ["dilation", "convolution", "mobilenet"]
    for one in told:
        with Image.open(one["path"]) as picture:
            assert min(picture.size) > 150
    result = CliRunner().invoke(cli, ["lecture", "pooling"])
    assert result.exit_code == 0 and "[[6, 8], [3, 4]]" in result.stdout
    assert CliRunner().invoke(cli, ["lecture", "poling"]).exit_code == 2
