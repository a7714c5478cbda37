"""Every network against published or independently measured numbers."""

import json
from pathlib import Path

import keras
import numpy as np
import parity
import pytest

import cnn_app
from cnn_app import registry
from cnn_app.analysis.complexity import complexity
from cnn_app.errors import ModelError, UnknownName

FAMILY = {row["id"]: row for row in json.loads((Path(__file__).parent / "golden" / "family.json").read_text())}
NAMES = registry.names()
SMALL = {"image": (64, 64, 3), "classes": 7}


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
    for name in FAMILY:
        part = name.split("_")
        if name.startswith("mobilenet_v2"):
            size = int(part[3]) if len(part) > 3 else 224
            cases[name] = ("mobilenet_v2", {"width": float(part[2]), "image": (size, size, 3)})
        if name.startswith("shufflenet_v1"):
            columns = {"groups": int(part[2][1:]), "scale": float(part[3][:-1])}
            cases[name] = ("shufflenet_v1", columns | ({"stem": int(part[-1])} if "conv1" in part else {}))
    return cases


GOLDEN = golden_cases()


@pytest.mark.parametrize(
    "golden", [pytest.param(name, marks=pytest.mark.slow if "101" in name or "152" in name else ()) for name in GOLDEN]
)
def test_counts_equal_the_golden_numbers(golden):
    name, columns = GOLDEN[golden]
    row = FAMILY[golden]
    model = cnn_app.create_model(name, **columns)
    counted = complexity(model)
    assert (counted.trainable, counted.moving_statistics, counted.macs) == (
        row["trainable"],
        row["moving_statistics"],
        row["macs"],
    )
    assert list(model.input_shape[1:]) == row["image"] and list(model.output_shape[1:]) == row["output"]


def test_every_variant_has_a_golden_number():
    assert {name for name, _ in GOLDEN.values()} == set(NAMES)


PARITY = {
    "own_lenet5": ("lenet5", {}, parity.by_table(parity.LENET)),
    "own_cifar_resnet20_A": ("resnet20", {}, parity.by_table(parity.RESNET)),
    "resnet18": ("resnet18", {}, parity.by_table(parity.RESNET)),
    "mobilenet_v2_0.35": (
        "mobilenet_v2",
        {"width": 0.35, "padding": "symmetric", "bn_epsilon": 1e-5},
        parity.mobilenet_v2,
    ),
}


@pytest.mark.parametrize("golden", PARITY)
def test_logits_equal_pytorch(golden):
    name, columns, place = PARITY[golden]
    state, inputs, logits = parity.case(golden)
    model = cnn_app.create_model(name, pixel_mean=0.0, pixel_std=1.0, **columns)
    parity.fill(model, state, place)
    np.testing.assert_allclose(model.predict_on_batch(inputs.transpose(0, 2, 3, 1)), logits, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in NAMES if not any(deep in name for deep in ("101", "152", "110"))])
def test_forward_pass_save_and_reload(name, tmp_path):
    """uint8 and float pixels give the same finite logits, also after a round trip through a file."""
    image = registry.spec(name).image
    model = cnn_app.create_model(name, image=(*image[:2], image[2]) if image[0] < 64 else (64, 64, 3), classes=7)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *model.input_shape[1:])).astype(np.uint8)
    logits = model.predict_on_batch(pixels)
    assert logits.shape == (2, 7) and np.isfinite(logits).all()
    np.testing.assert_array_equal(model.predict_on_batch(pixels.astype(np.float32)), logits)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(cnn_app.load_model(tmp_path / "model.keras").predict_on_batch(pixels), logits)


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "resnet20", "mobilenet_v2", "shufflenet_v1"])
def test_smallest_size_builds_and_a_smaller_one_is_refused(name):
    row = registry.spec(name)
    model = cnn_app.create_model(name, image=(row.min_size, row.min_size, row.image[2]), classes=3)
    assert np.isfinite(model.predict_on_batch(np.zeros((1, *model.input_shape[1:])))).all()
    with pytest.raises(ModelError, match=f"at least {row.min_size}x{row.min_size}, received"):
        cnn_app.create_model(name, image=(row.min_size - 1, row.min_size, row.image[2]))


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
        (lambda: cnn_app.create_model("resnet50", head="segmentation"), UnknownName, "known: classification"),
        (lambda: cnn_app.create_model("shufflenet_v1", groups=5), ModelError, "groups 1, 2, 3, 4, 8, received 5"),
        (lambda: cnn_app.create_model("shufflenet_v1", groups=4, scale=0.25), ModelError, "do not fall into 4 groups"),
        (lambda: cnn_app.create_model("lenet5", classes=0), ModelError, "at least one class, received 0"),
        (lambda: cnn_app.create_model("resnet18", shortcut="zero"), ModelError, "received 'zero'"),
    ],
)
def test_errors_name_what_was_received(call, error, text):
    with pytest.raises(error, match=text):
        call()
