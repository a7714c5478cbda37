"""Receptive fields against the golden table, and the other columns of `inspect` by hand."""

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras import layers

import cnn_app
from cnn_app.analysis import inspection
from cnn_app.analysis.receptive_field import WHOLE, View, views
from cnn_app.cli.main import cli
from cnn_app.layers import NearestUpSampling2D

FIELDS = json.loads((Path(__file__).parent / "golden" / "receptive_field.json").read_text())
DEPTHS = {"ResNet-18 / Plain-18": "resnet18", "ResNet-34 / Plain-34": "resnet34"}


def resnet(layer):
    """conv1, pool1, c3_0 (a unit's end; c3.0a is its first half), r (a strided 1x1 counted apart)."""
    if layer in ("conv1", "pool1"):
        return {"conv1": "stem_relu", "pool1": "stem_pool"}[layer]
    found = re.fullmatch(r"c(\d)_(\d+)", layer)
    return found and f"stage{int(found[1]) - 1}_unit{int(found[2]) + 1}_out"


def cifar(layer):
    found = re.fullmatch(r"s(\d)_(\d+)", layer)
    return "stem_relu" if layer == "conv1" else found and f"stage{found[1]}_unit{int(found[2]) + 1}_out"


def mobilenet_v2(layer):
    if layer == "conv1":
        return "stem_relu6"
    stage, unit = re.fullmatch(r"b(\d)_(\d)", layer).groups()
    return f"stage{stage}_unit{int(unit) + 1}_project_bn"


def shufflenet(layer):
    if layer in ("conv1", "pool"):
        return {"conv1": "stem_relu", "pool": "stem_pool"}[layer]
    stage, unit = re.fullmatch(r"s(\d)_(\d)", layer).groups()
    return f"stage{stage}_unit{int(unit) + 1}_{'concat' if unit == '0' else 'out'}"


def shufflenet_v2(layer):
    if layer in ("conv1", "pool"):
        return shufflenet(layer)
    stage, unit = re.fullmatch(r"s(\d)_(\d)", layer).groups()
    return f"stage{stage}_unit{int(unit) + 1}_out"


def lenet(layer):
    return layer.lower()


def plain(layer):
    """AlexNet's and ZFNet's layers are called as the table calls them."""
    return layer


def vgg(layer):
    stage, _, unit = layer.removeprefix("conv").removeprefix("pool").partition("_")
    return f"stage{stage}_unit{unit}_conv" if unit else f"stage{stage}_pool"


def googlenet(layer):
    if layer[0].isdigit():
        return f"inception{layer}_concat"
    return f"{layer}_conv" if layer.startswith("conv") else layer


def mobilenet_v1(layer):
    return "stem_relu6" if layer == "conv1" else f"unit{layer.removeprefix('dw')}_depthwise_conv"


def unet(layer):
    """d0a, d0b, p0 are the first stage, d4b the end of the bottom."""
    path, level, place = layer[0], int(layer[1]), layer[2:]
    stage = "bottom" if level == 4 else f"down{level + 1}"
    return f"{stage}_pool" if path == "p" else f"{stage}_{place}_conv"


def fcn(layer):
    return layer if layer == "fc6" else vgg(layer)


CASES = {
    "FCN (fc6 7x7 after pool5)": ("deconvnet", {"width": 1 / 64}, fcn),  # pads as the table
    "AlexNet (96ch 227 pad0 / any)": ("alexnet", {}, plain),
    "ZFNet (7x7 s2, conv2 5x5 s2)": ("zfnet", {}, plain),
    "GoogLeNet 5x5": ("googlenet", {}, googlenet),
    "GoogLeNet 3x3 (torchvision; its pool4 is 2x2 s2)": ("googlenet", {"torchvision": True}, googlenet),
    "MobileNetV1": ("mobilenet_v1", {"padding": "symmetric"}, mobilenet_v1),
    **{f"VGG-{depth}": (f"vgg{depth}", {}, vgg) for depth in (11, 13, 16, 19)},
    "LeNet-5": ("lenet5", {}, lenet),
    "MobileNetV2": ("mobilenet_v2", {"padding": "symmetric"}, mobilenet_v2),
    "ShuffleNet V1/V2": ("shufflenet_v1", {}, shufflenet),
    **{name: (network, {}, resnet) for name, network in DEPTHS.items()},
    **{f"ResNet-{depth} v1": (f"resnet{depth}", {}, resnet) for depth in (50, 101, 152)},
    **{f"ResNet-{depth} v1.5": (f"resnet{depth}", {"stride_on": 3}, resnet) for depth in (50, 101, 152)},
    **{f"CIFAR ResNet-{depth}": (f"resnet{depth}", {}, cifar) for depth in (20, 32, 44, 56, 110)},
    "U-Net encoder to bottleneck": ("unet", {"width": 2}, unet),
}


@pytest.mark.parametrize(
    ("golden", "case"),
    [*CASES.items(), ("ShuffleNet V1/V2", ("shufflenet_v2", {}, shufflenet_v2))],
)
def test_receptive_fields_equal_the_table(golden, case):
    name, columns, place = case
    seen = views(cnn_app.create_model(name, **columns))
    compared = 0
    for layer, size, stride, padding in FIELDS[golden]:
        if place(layer):
            view = seen[place(layer)]
            assert (view.size, view.stride) == (size, stride), layer
            assert padding is None or view.at(0)[0] == -padding, layer
            compared += 1
    assert compared >= len(FIELDS[golden]) / 3


def chain(*steps):
    x = inputs = keras.Input((64, 64, 1))
    for step in steps:
        x = step(x)
    return views(keras.Model(inputs, x))[steps[-1].name]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([layers.Conv2D(1, 3)] * 1, View(1, ((0, 2),))),
        ([layers.Conv2D(1, 3), layers.Conv2D(1, 3)], View(1, ((0, 4),))),  # 1 + L (K - 1)
        ([layers.Conv2D(1, 3, padding="same"), layers.Conv2D(1, 3, padding="same")], View(1, ((-2, 2),))),
        ([layers.Conv2D(1, 3, dilation_rate=d) for d in (1, 2, 4)], View(1, ((0, 14),))),  # 3, 7, 15
        ([layers.Conv2D(1, 7, 2), layers.MaxPooling2D(3, 2)], View(4, ((0, 10),))),
        ([layers.Conv2D(1, 3, 2, padding="same")], View(2, ((0, 2),))),  # the odd zero goes behind
        ([layers.ZeroPadding2D(1), layers.Conv2D(1, 3, 2)], View(2, ((-1, 1),))),
        ([layers.GlobalAveragePooling2D()], WHOLE),
        ([layers.Conv2D(1, 3), layers.Cropping2D(4)], View(1, ((4, 6),))),
        ([layers.MaxPooling2D(2), layers.Conv2DTranspose(1, 2, 2)], View(2, ((0, 1), (0, 1)))),
        ([layers.UpSampling2D(2)], View(1, ((0, 0), (0, 0)))),  # finer than the pixels
    ],
)
def test_views_by_hand(steps, expected):
    assert chain(*steps) == expected


@pytest.mark.parametrize(
    "finer",
    [
        *(layers.Conv2DTranspose(1, k, s, padding=p) for k, s, p in ((2, 2, "valid"), (3, 2, "same"), (5, 3, "valid"))),
        *(layers.UpSampling2D(f, interpolation=kind) for f, kind in ((2, "nearest"), (2, "bilinear"), (3, "bilinear"))),
        NearestUpSampling2D((2, 1)),
    ],
    ids=lambda layer: f"{layer.name}_{getattr(layer, 'interpolation', '')}",
)
def test_views_behind_upsampling_are_what_is_measured(finer):
    """Each of 62 images has one bright pixel; those that reach a position are what it sees."""
    steps = [layers.Conv2D(1, 3), layers.AveragePooling2D(6), finer, layers.Conv2D(1, 2), layers.Cropping2D((1, 0)),
             layers.AveragePooling2D(2, 1)]  # fmt: skip
    x = inputs = keras.Input((62, 62, 1))
    for step in steps:
        x = step(x)
    model = keras.Model(inputs, x)
    model.set_weights([abs(weight) + 0.1 for weight in model.get_weights()])
    view = views(model)[steps[-1].name]
    dark = np.zeros((62, 62, 62, 1), "float32")
    bright = dark + np.eye(62, dtype="float32")[:, :, None, None]
    reaches = (model.predict_on_batch(bright) > model.predict_on_batch(dark) + 1e-6).any(axis=(2, 3))
    for position in range(3, reaches.shape[1] - 3):  # nearer to an edge bilinear weights repeat pixels
        assert tuple(reaches[:, position].nonzero()[0][[0, -1]]) == view.at(position)


def test_branches_are_united_and_a_gate_sees_everything():
    inputs = keras.Input((32, 32, 4))
    small, wide = layers.Conv2D(4, 3, padding="same")(inputs), layers.Conv2D(4, 7, padding="same")(inputs)
    x = layers.Concatenate(name="both")([small, wide])
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    seen = views(keras.Model(inputs, layers.Multiply(name="gated")([x, gate])))
    assert seen["both"].size == 7 and seen["gated"].size is None and seen["gated"].stride == 1


def test_rows_by_hand():
    """32x32x3 with six filters of 5x5: 28x28x6, 456 parameters, 352,800 multiply-adds (the lecture's example)."""
    inputs = keras.Input((32, 32, 3), name="image")
    model = keras.Model(inputs, layers.Dense(10)(layers.Flatten()(layers.Conv2D(6, 5, name="conv")(inputs))))
    row = next(row for row in inspection.rows(model) if row.name == "conv")
    assert (row.shape, row.parameters, row.macs, row.activation_bytes) == ((28, 28, 6), 456, 352_800, 28 * 28 * 6 * 4)
    total = inspection.totals(model)
    assert total["trainable"] == 456 + 4704 * 10 + 10 and total["macs"] == 352_800 + 47_040
    assert total["activation_bytes"] == 4 * (3072 + 4704 + 4704 + 10)
    assert total["peak_activation_bytes"] == 4 * (4704 + 4704)


def test_stages_sum_their_layers():
    model = cnn_app.create_model("resnet18")
    rows = inspection.rows(model)
    merged = {row.name: row for row in inspection.stages(rows)}
    assert merged["stage4"].shape == (7, 7, 512) and merged["stage4"].receptive_field == 435
    assert sum(row.macs for row in merged.values()) == sum(row.macs for row in rows) == 1_814_073_344


def test_a_segmentation_network_and_one_for_sentences_are_shown():
    """5 pixels of `up1`, then 7, 8 and 9 positions of the stages below, are 5 of the bottom's: 140 + 4 * 16 = 204."""
    rows = {row.name: row for row in inspection.stages(inspection.rows(cnn_app.create_model("unet", width=2)))}
    assert [name for name in rows if name[:2] in ("do", "bo", "up")] == [
        *(f"down{k}" for k in (1, 2, 3, 4)), "bottom", *(f"up{k}" for k in (4, 3, 2, 1))
    ]  # fmt: skip
    assert rows["up1"].shape == (388, 388, 2) and (rows["up1"].stride, rows["logits"].receptive_field) == (1, 204)
    layers = inspection.rows(cnn_app.create_model("text_cnn"))
    assert [row.name for row in inspection.stages(layers)][1:6] == [
        "words",
        "window3",
        "window4",
        "window5",
        "sentence",
    ]
    rows = {row.name: row for row in layers}
    assert rows["words_learned"].parameters == 18_766 * 300 and rows["window4_conv"].receptive_field == 4
    assert rows["sentence"].receptive_field is None


@pytest.mark.parametrize("columns", [{}, {"torchvision": True}], ids=["paper", "torchvision"])
def test_auxiliary_classifiers_are_in_the_costs_of_training_only(columns):
    family = json.loads((Path(__file__).parent / "golden" / "family.json").read_text())
    rows = {row["id"]: row for row in family}
    plain, aux = (
        ("googlenet_torchvision_noaux", "googlenet_torchvision_aux") if columns else ("googlenet", "googlenet_aux")
    )
    arguments = ["inspect", "googlenet", "-c", "aux=true", *(f"-c{name}=true" for name in columns)]
    report = json.loads(CliRunner().invoke(cli, [*arguments, "--json"], catch_exceptions=False).stdout)
    for count in ("trainable", "moving_statistics"):
        assert (report["total"][count], report["training"][count]) == (rows[plain][count], rows[aux][count])
    classifiers = sum(row["macs"] for row in report["layers"] if row["name"].startswith("aux"))
    assert report["total"]["macs"] == rows[plain]["macs"] and classifiers == 8_372_224
    training = 1_506_748_416 if columns else rows[aux]["macs"]  # torchvision's row was measured in inference
    assert report["training"]["macs"] == training == report["total"]["macs"] + classifiers
    assert rows[aux]["macs"] in (training, report["total"]["macs"])
    assert report["total"]["activation_bytes"] < report["training"]["activation_bytes"]
    *_, deployed, trained = CliRunner().invoke(cli, arguments, catch_exceptions=False).stdout.splitlines()
    assert f"{rows[plain]['trainable']:,} trainable" in deployed and f"{rows[plain]['macs']:,} mult" in deployed
    assert trained.startswith("in training, with aux") and f"{training:,} mult" in trained


def test_networks_without_auxiliary_classifiers_have_one_total():
    report = json.loads(CliRunner().invoke(cli, ["inspect", "lenet5", "--json"], catch_exceptions=False).stdout)
    assert set(report) == {"layers", "stages", "total"}


def test_the_command_takes_names_and_files(tmp_path):
    model = cnn_app.create_model("resnet20", classes=7)
    model.save(tmp_path / "model.keras")
    for source in (["resnet20", "-c", "classes=7"], [str(tmp_path / "model.keras")]):
        result = CliRunner().invoke(cli, ["inspect", *source, "--json"], catch_exceptions=False)
        report = json.loads(result.stdout)
        assert report["total"]["macs"] == 40_551_040 - 3 * 64 and len(report["layers"]) == len(model.layers)
    assert "stage3" in CliRunner().invoke(cli, ["inspect", "resnet20"], catch_exceptions=False).stdout
