"""Every network against published or independently measured numbers."""

import json
import math
from pathlib import Path

import keras
import numpy as np
import parity
import pytest

import cnn_app
from cnn_app import heads, registry
from cnn_app.analysis.complexity import complexity, multiply_adds
from cnn_app.analysis.receptive_field import views
from cnn_app.architectures import alexnet, lenet
from cnn_app.architectures.blocks import window_padding
from cnn_app.architectures.reference import REFERENCE
from cnn_app.errors import ModelError, UnknownName
from cnn_app.heads import plain

FAMILY = {row["id"]: row for row in json.loads((Path(__file__).parent / "golden" / "family.json").read_text())}
NAMES = registry.names()
CLASSIFIERS = [name for name in registry.names(task="classification") if registry.spec(name).input == "image"]
SMALL = {"image": (64, 64, 3), "classes": 7}


def slow_if(name, parts):
    """The mark for cases that cost much and show little that others do not."""
    return pytest.mark.slow if any(part in name for part in parts) else ()


def golden_cases():
    """golden id -> (name, columns)."""
    same = ["lenet5", "plain18", "plain34", "resnet18", "resnet34", "seresnet18", "seresnet34"]
    same += ["seresnet50", "seresnet101", "seresnet152"] + [name for name in NAMES if "resnext" in name]
    cases = {name: (name, {}) for name in same}
    for depth in (18, 34):
        cases[f"resnet{depth}_optionA"] = (f"resnet{depth}", {"shortcut": "pad"})
    for depth in (50, 101, 152):
        cases[f"resnet{depth}_v1"] = (f"resnet{depth}", {})
        cases[f"resnet{depth}_v1.5"] = (f"resnet{depth}", {"stride_on": 3})
        cases[f"resnet{depth}_v1_keras"] = (f"resnet{depth}", {"conv_bias": True})
        cases[f"seresnet{depth}_v1.5"] = (f"seresnet{depth}", {"stride_on": 3})
    for depth in (20, 32, 44, 56, 110):
        cases[f"cifar_resnet{depth}"] = (f"resnet{depth}", {})
        cases[f"cifar_resnet{depth}_B"] = (f"resnet{depth}", {"shortcut": "projection"})
        cases[f"cifar_plain{depth}"] = (f"plain{depth}", {})
    for group, name in ((2, "50_2x40d"), (4, "50_4x24d"), (8, "50_8x14d")):
        width = int(name.split("x")[1][:-1])
        cases[f"resnext{name}"] = ("resnext50_32x4d", {"groups": group, "group_width": width})
    cases |= {
        "lenet5_1998_c3table": ("lenet5", lenet.PAPER),
        "lenet5_1998_c3table_fc10": ("lenet5", lenet.PAPER | {"output": True}),
        "lenet5_c3table_plainpool_fc10": ("lenet5", {"c3_table": True}),
        "lenet5_fullC3_trainablepool_fc10": ("lenet5", {"subsampling": "trainable"}),
        "alexnet_single_tower": ("alexnet", {}),
        "alexnet_caffe_grouped": ("alexnet", alexnet.CAFFE),
        "alexnet_owt_torchvision": ("alexnet", alexnet.ONE_WEIRD_TRICK),
        "zfnet_lecture": ("zfnet", {}),
        "zfnet_paper": ("zfnet", alexnet.ZFNET_384),
        "zfnet_lecture_literal": ("zfnet", {"image": (227, 227, 3), "first": (7, 2, 0), "second": (5, 1, 2)}),
    }
    for name in FAMILY:
        part = name.split("_")
        if name.startswith("vgg"):
            cases[name] = (name, {})
        if "googlenet" in name or "inception" in name:
            columns = {
                "aux": "aux" in part,
                "batch_norm": "bn" in part,
                "torchvision": "torchvision" in part,
                "conv_bias": name == "inception_bn",
                "se_reduction": 16 if "se" in part else None,
            }
            cases[name] = ("inception_bn" if "inception" in name else "googlenet", columns)
        if name.startswith(("mobilenet_v1", "mobilenet_v2")):
            size = int(part[3]) if len(part) > 3 else 224
            cases[name] = (f"mobilenet_{part[1]}", {"width": float(part[2]), "image": (size, size, 3)})
        if name.startswith("shufflenet_v1"):
            columns = {"groups": int(part[2][1:]), "scale": float(part[3][:-1])}
            cases[name] = ("shufflenet_v1", columns | ({"stem": int(part[-1])} if "conv1" in part else {}))
        if name.startswith("shufflenet_v2"):
            cases[name] = ("shufflenet_v2", {"scale": float(part[2][:-1])})
        if name.startswith("unet"):
            cases[name] = ("unet", unet_columns(name))
        if name.startswith("fcn") and "grouped" not in part and "atonce" not in part:
            same = {"padding": "same", "up": "learned", "image": (224, 224, 3)}
            cases[name] = (part[0], same if "same" in part else {})
    return cases | {"deconvnet": ("deconvnet", {}), "dilation8_pascal_voc": ("dilated8", {})}


def unet_columns(name):
    """unet_same_bn_1ch_2cls_256, unet_valid_572_upconv"""
    part = name.split("_")
    if part[1] == "valid":
        return {"up": "upconv"} if part[3] == "upconv" else {}
    side = 576 if "576" in part else 256
    classes = next((int(word.removesuffix("cls")) for word in part if word.endswith("cls")), 2)
    columns = {"padding": "same", "image": (side, side, 3 if "rgb" in part else 1), "classes": classes}
    columns |= {"up": "upconv"} if "upconv" in part else {}
    return columns | ({"batch_norm": True, "conv_bias": "nobias" not in name} if "bn" in part else {})


GOLDEN = golden_cases()


@pytest.mark.parametrize(
    "golden",
    [
        pytest.param(
            name, marks=slow_if(name, ("101", "152", "literal", "v1_0.5", "v1_0.75", "v1_1.0_1", "fcn16", "fcn32"))
        )
        for name in GOLDEN
    ],
)
def test_counts_equal_the_golden_numbers(golden, monkeypatch):
    """Of weights that nobody draws, for drawing takes longer than counting."""
    monkeypatch.setattr(
        keras.initializers.VarianceScaling, "__call__", lambda self, shape, dtype=None: keras.ops.zeros(shape)
    )
    name, columns = GOLDEN[golden]
    row = FAMILY[golden]
    model = cnn_app.create_model(name, **columns)
    counted = complexity(model)
    macs = counted.macs
    if golden == "googlenet_torchvision_aux":  # measured in inference, where the auxiliary classifiers are left out
        macs = complexity(plain(model)).macs
    assert (counted.trainable, counted.moving_statistics, macs) == (
        row["trainable"],
        row["moving_statistics"],
        row["macs"],
    )
    output = model.output["logits"] if isinstance(model.output, dict) else model.output
    output = model.get_layer("context8_logits").output if name == "dilated8" else output  # the row ends there
    if not columns:
        assert (counted.trainable, counted.macs) == REFERENCE[name][:2]
    assert list(model.input_shape[1:]) == row["image"] and list(output.shape[1:]) == row["output"]


def test_googlenet_has_the_rows_of_its_table():
    """Weights, biases and multiply-adds of arXiv:1409.4842, Table 1, by the names of the layers."""
    model = cnn_app.create_model("googlenet")
    rows = json.loads((Path(__file__).parent / "golden" / "googlenet_table.json").read_text())
    places = {"conv1": "conv1_", "conv2": "conv2_", "linear": "logits"}
    for row in rows:
        place = places.get(row["row"], f"inception{row['row']}_")
        found = [layer for layer in model.layers if layer.weights and layer.name.startswith(place)]
        counted = {
            "weights": sum(math.prod(layer.kernel.shape) for layer in found),
            "biases": sum(math.prod(layer.bias.shape) for layer in found),
            "macs": sum(map(multiply_adds, found)),
        }
        assert {"row": row["row"]} | counted == row
    assert model.count_params() == sum(row["weights"] + row["biases"] for row in rows)


@pytest.mark.parametrize("columns", [{}, {"torchvision": True}])
def test_googlenet_has_auxiliary_classifiers_for_training(columns):
    model = cnn_app.create_model("googlenet", aux=True, image=(96, 96, 3), classes=7, **columns)
    outputs = model.predict_on_batch(np.zeros((2, 96, 96, 3)))
    assert {name: value.shape for name, value in outputs.items()} == dict.fromkeys(("logits", "aux1", "aux2"), (2, 7))
    seen = {name: keras.Model(model.input, tensor) for name, tensor in model.output.items()}
    deepest = {
        name: [layer.name[:11] for layer in part.layers if "concat" in layer.name] for name, part in seen.items()
    }
    assert {name: layers[-1] for name, layers in deepest.items()} == {
        "logits": "inception5b", "aux1": "inception4a", "aux2": "inception4d"
    }  # fmt: skip


def test_every_variant_has_a_golden_number():
    patterns = ("perceptron", "neocognitron", "text_cnn*", "tdnn*", "autoencoder", "vae", "dqn*", "window_tagger*",
                "captioner", "c3d*")  # fmt: skip
    counted_by_hand = {name for pattern in patterns for name in registry.names(pattern)}
    assert {name for name, _ in GOLDEN.values()} | counted_by_hand == set(NAMES)


def test_perceptron_is_one_logistic_unit():
    """A weight for each of 32 x 32 pixels and a threshold; softmax (0, z) = (1 - sigmoid(z), sigmoid(z))."""
    model = cnn_app.create_model("perceptron")
    counted = complexity(model)
    assert (counted.trainable, counted.macs) == (32 * 32 + 1, 32 * 32)
    weights, threshold = model.get_layer("logits").get_weights()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1))
    z = ((pixels / 127.5 - 1).reshape(3, -1) @ weights)[:, 0] + threshold
    logits = model.predict_on_batch(pixels)
    np.testing.assert_allclose(logits, np.stack([np.zeros(3), z], 1), atol=1e-4)
    np.testing.assert_allclose(keras.ops.softmax(logits)[:, 1], 1 / (1 + np.exp(-z)), atol=1e-4)


def test_neocognitron_counted_by_hand():
    """24 planes a module: 5x5 windows of 1 and of 24 planes and a threshold, at 32x32, 16x16 and 8x8 positions."""
    model = cnn_app.create_model("neocognitron")
    counted = complexity(model)
    first, later = 25 * 24, 25 * 24 * 24
    assert counted.trainable == (first + 24) + 2 * (later + 24) + (24 * 10 + 10)
    assert counted.macs == 32 * 32 * first + (16 * 16 + 8 * 8) * later + 24 * 10
    shapes = [model.get_layer(name).output.shape[1:] for name in ("us1_relu", "uc1_blur", "uc2_blur", "us3_relu")]
    assert shapes == [(32, 32, 24), (16, 16, 24), (8, 8, 24), (8, 8, 24)]


@pytest.mark.parametrize(
    ("name", "maps"),
    [("perceptron", 1), ("neocognitron", 3), ("lenet5", 3), ("alexnet", 5), ("vgg11", 8), ("vgg11_bn", 8)],
)
def test_squeeze_and_excitation_behind_every_convolution(name, maps):
    """One gate for each, of two small layers with biases."""
    image = (64, 64, 3)
    model = cnn_app.create_model(name, image=image, classes=2, se_reduction=2)
    plain = cnn_app.create_model(name, image=image, classes=2)
    gates = [layer for layer in model.layers if layer.name.endswith("_se_scale")]
    widths = [gate.output.shape[-1] for gate in gates]
    added = sum(2 * max(1, c // 2) * c + c + max(1, c // 2) for c in widths)
    assert len(gates) == maps and model.count_params() - plain.count_params() == added


PARITY = {
    "own_lenet5": ("lenet5", {}, parity.by_table(parity.LENET)),
    "own_cifar_resnet20_A": ("resnet20", {}, parity.by_table(parity.RESNET)),
    "resnet18": ("resnet18", {}, parity.by_table(parity.RESNET)),
    "mobilenet_v2_0.35": (
        "mobilenet_v2",
        {"width": 0.35, "padding": "symmetric", "bn_epsilon": 1e-5},
        parity.mobilenet_v2,
    ),
    "shufflenet_v2_x0_5": ("shufflenet_v2", {"scale": 0.5}, parity.by_table(parity.SHUFFLENET_V2)),
    "vgg11": ("vgg11", {}, parity.by_table(parity.VGG11)),
    "own_unet_valid_188": ("unet", {"image": (188, 188, 1)}, parity.by_table(parity.UNET)),
}


@pytest.mark.parametrize(
    "golden", [pytest.param(name, marks=pytest.mark.slow if name == "vgg11" else ()) for name in PARITY]
)
def test_logits_equal_pytorch(golden):
    name, columns, place = PARITY[golden]
    state, inputs, logits = parity.case(golden)
    model = cnn_app.create_model(name, pixel_mean=0.0, pixel_std=1.0, **columns)
    parity.fill(model, state, place)
    expected = logits.transpose(0, 2, 3, 1) if logits.ndim == 4 else logits
    np.testing.assert_allclose(model.predict_on_batch(inputs.transpose(0, 2, 3, 1)), expected, atol=1e-4)


SIBLINGS = (
    "101",
    "152",
    "110",
    "vgg13",
    "vgg16",
    "vgg19",
    "zfnet",
    "34",
    "44",
    "56",
    "inception_bn",
    "seresnet50",
    "resnet50",
    "resnext50_32x4d",
)  # others stand for them by default


@pytest.mark.parametrize("name", [pytest.param(name, marks=slow_if(name, SIBLINGS)) for name in CLASSIFIERS])
def test_forward_pass_save_and_reload(name, tmp_path):
    """uint8 and float pixels give the same finite logits, also after a round trip through a file."""
    image = registry.spec(name).image
    size, classes = min(image[0], max(64, registry.spec(name).min_size)), 2 if name == "perceptron" else 7
    model = cnn_app.create_model(name, image=(size, size, image[2]), classes=classes)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *model.input_shape[1:])).astype(np.uint8)
    logits = np.asarray(model(pixels, training=False))  # a graph of each would take ten times as long
    assert logits.shape == (2, classes) and np.isfinite(logits).all()
    np.testing.assert_array_equal(model(pixels.astype(np.float32), training=False), logits)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(cnn_app.load_model(tmp_path / "model.keras")(pixels, training=False), logits)


@pytest.mark.parametrize(
    "name",
    [
        "perceptron",
        "neocognitron",
        "lenet5",
        "alexnet",
        "zfnet",
        "vgg11",
        "resnet18",
        "resnet20",
        "googlenet",
        "inception_bn",
        "mobilenet_v1",
        "mobilenet_v2",
        "shufflenet_v1",
        "shufflenet_v2",
    ],
)
def test_smallest_size_builds_and_a_smaller_one_is_refused(name):
    row = registry.spec(name)
    model = cnn_app.create_model(name, image=(row.min_size, row.min_size, row.image[2]), classes=2)
    assert np.isfinite(model.predict_on_batch(np.zeros((1, *model.input_shape[1:])))).all()
    with pytest.raises(ModelError, match=f"at least {row.min_size}x{row.min_size}, received"):
        cnn_app.create_model(name, image=(row.min_size - 1, row.min_size, row.image[2]))


@pytest.mark.parametrize(("scale", "millions"), [(0.5, 41), (1.0, 146), (1.5, 299), (2.0, 591)])
def test_shufflenet_v2_in_its_authors_form_costs_what_the_paper_says(scale, millions):
    """arXiv:1807.11164, Table 5; 0.5x has 40.5 M, which the paper rounds up."""
    macs = complexity(cnn_app.create_model("shufflenet_v2", scale=scale, even_branches=False)).macs
    assert abs(macs / 1e6 - millions) < 0.53


ATROUS = {
    "resnet18": ({}, 8),
    "resnet50": ({"depths": (1, 2, 2, 2)}, 8),
    "resnet50_v1.5": ({"depths": (1, 2, 2, 2), "stride_on": 3}, 16),
    "resnext50_32x4d": ({"depths": (1, 1, 2, 2)}, 8),
    "resnet20": ({"image": (32, 32, 3)}, 1),
    "mobilenet_v1": ({"width": 0.25}, 8),
    "mobilenet_v2": ({"width": 0.35}, 8),
    "mobilenet_v2_symmetric": ({"width": 0.35, "padding": "symmetric"}, 16),
}


@pytest.mark.parametrize("case", ATROUS)
def test_a_finer_output_stride_sees_what_the_strided_network_sees(case):
    """With the same weights the dense map holds the coarse one; `same` centres a window on its last position."""
    columns, output_stride = ATROUS[case]
    name = case.removesuffix("_symmetric").removesuffix("_v1.5")
    columns = {"image": (64, 64, 3), "classes": 3} | columns
    coarse, dense = (cnn_app.create_model(name, output_stride=s, **columns) for s in (None, output_stride))
    rng = np.random.default_rng(0)
    weights = [w + rng.uniform(0.0, 0.2, w.shape).astype("f4") for w in coarse.get_weights()]  # no norm is the identity
    coarse.set_weights(weights)
    dense.set_weights(weights)
    last = coarse.get_layer("pool").input
    few, many = (keras.Model(m.input, m.get_layer("pool").input) for m in (coarse, dense))
    pixels = rng.uniform(0, 255, (1, *columns["image"]))
    few, many = few.predict_on_batch(pixels), many.predict_on_batch(pixels)
    assert many.shape[1] == columns["image"][0] // output_stride > last.shape[1]
    rate = many.shape[1] // few.shape[1]
    first = rate - 1 if name.startswith("mobilenet") and "symmetric" not in case else 0
    np.testing.assert_allclose(many[:, first::rate, first::rate], few, rtol=1e-4, atol=1e-4 * np.abs(few).max())
    fields = [views(m)[m.get_layer("pool").input._keras_history.operation.name] for m in (coarse, dense)]
    assert fields[0].size == fields[1].size and fields[0].stride == rate * fields[1].stride


@pytest.mark.parametrize(("kernel", "stride"), [(2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (5, 2)])
def test_pools_round_up_with_windows_that_begin_inside(kernel, stride):
    """PyTorch's ceil mode: windows stand side by side until one reaches the end, and none begins behind it."""
    for size in range(kernel, 20):
        starts = [0]
        while starts[-1] + kernel < size and starts[-1] + stride < size:
            starts.append(starts[-1] + stride)
        before, behind = window_padding(size, kernel, stride, "ceil")
        assert (before, (size + behind - kernel) // stride + 1) == (0, len(starts))
        assert behind == max(0, starts[-1] + kernel - size)


def test_scaling_per_channel_is_the_first_layer():
    columns = {"pixel_mean": (10.0, 20.0, 30.0), "pixel_std": (1.0, 2.0, 4.0)}
    model = cnn_app.create_model("resnet20", **columns)
    scaled = keras.Model(model.input, model.get_layer("rescale").output)
    np.testing.assert_allclose(scaled.predict_on_batch(np.full((1, 32, 32, 3), 50.0))[0, 0, 0], [40, 15, 5], rtol=1e-5)


def test_a_stride_two_shuffle_unit_never_drops_what_the_paper_keeps():
    """ReLU in front of the concatenation equals ReLU behind it, because the pooled input is not negative."""
    model = cnn_app.create_model("shufflenet_v1", **SMALL)
    inner = keras.Model(model.input, model.get_layer("stage2_unit1_concat").output)
    values = inner.predict_on_batch(np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)))
    np.testing.assert_array_equal(values, np.maximum(values, 0))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: cnn_app.create_model("resnet5"), UnknownName, "did you mean .*resnet50"),
        (lambda: cnn_app.create_model("resnet50", widht=1), UnknownName, "no column of resnet50 named 'widht'"),
        (
            lambda: cnn_app.create_model("resnet50", head="hat"),
            UnknownName,
            f"known: {', '.join(sorted(heads.HEADS))}",
        ),
        (lambda: cnn_app.create_model("unet", head="classification"), ModelError, "has no head for classification"),
        (lambda: cnn_app.create_model("shufflenet_v1", groups=5), ModelError, "groups 1, 2, 3, 4, 8, received 5"),
        (lambda: cnn_app.create_model("shufflenet_v1", groups=4, scale=0.25), ModelError, "do not fall into 4 groups"),
        (lambda: cnn_app.create_model("shufflenet_v2", scale=0.75), ModelError, "0.5, 1.0, 1.5, 2.0, received 0.75"),
        (
            lambda: cnn_app.create_model("googlenet", aux=True, image=(78, 79, 3)),
            ModelError,
            "at least 79x79, .* 78x79",
        ),
        (lambda: cnn_app.create_model("lenet5", classes=0), ModelError, "at least one class, received 0"),
        (lambda: cnn_app.create_model("resnet18", shortcut="zero"), ModelError, "received 'zero'"),
        (lambda: cnn_app.create_model("resnet18", output_stride=5), ModelError, "is one of 4, 8, 16, 32, received 5"),
        (lambda: cnn_app.create_model("perceptron", classes=3), ModelError, "two classes apart, received 3"),
        (lambda: cnn_app.create_model("lenet5", subsampling="max"), ModelError, "average, trainable, received 'max'"),
        (lambda: cnn_app.create_model("lenet5", c3_table=True, maps=(6, 32, 120)), ModelError, "6 maps with 16; rec"),
        (
            lambda: cnn_app.create_model("alexnet", groups=5),
            ModelError,
            "conv2: 96 and 256 channels do not fall into 5",
        ),
        (lambda: cnn_app.create_model("zfnet", image=(64, 64, 3), pool_ceil=False), ModelError, "3x3, received 2x2"),
    ],
)
def test_errors_name_what_was_received(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_units_are_left_out_at_random_the_later_the_more_often():
    """Nine units, a share of 0.45 for the last: unit n by 0.05 n; the others are as much larger (arXiv:1603.09382)."""
    model = cnn_app.create_model("resnet20", stochastic_depth=0.45)
    layers = [layer for layer in model.layers if layer.name.endswith("_left_out")]
    assert [layer.rate for layer in layers] == pytest.approx([0.05 * n for n in range(1, 10)])
    branch = np.random.default_rng(0).normal(size=(400, 2, 2, 64)).astype(np.float32)
    found = np.array(layers[-1](branch, training=True))
    out = (found == 0).all((1, 2, 3))
    assert 0.35 < out.mean() < 0.55
    np.testing.assert_allclose(found[~out], branch[~out] / 0.55, rtol=1e-5)
    assert model.count_params() == cnn_app.create_model("resnet20").count_params()


@pytest.mark.parametrize(("name", "share"), (("resnet20", 1.0), ("resnet20", -0.1), ("plain20", 0.1)))
def test_units_cannot_be_left_out_always_or_without_a_shortcut(name, share):
    with pytest.raises(ModelError, match="^stochastic_depth lies from 0 to below 1, and needs shortcuts"):
        cnn_app.create_model(name, stochastic_depth=share)
