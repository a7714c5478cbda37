"""FCN, Dilated-8 and DeconvNet: sizes, how they start, switches by hand; counts are in test_architectures."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import cnn_app
from cnn_app import data as sources
from cnn_app import registry
from cnn_app.analysis.complexity import complexity, multiply_adds
from cnn_app.analysis.receptive_field import views
from cnn_app.errors import ModelError
from cnn_app.layers import Bilinear, MaxPoolingWithArgmax, MaxUnpooling, NestedIdentity
from cnn_app.recipe import Schedule
from cnn_app.transfer import freezing

GOLDEN = Path(__file__).parent / "golden"
FAMILY = {row["id"]: row for row in json.loads((GOLDEN / "family.json").read_text())}
FIELDS = json.loads((GOLDEN / "receptive_field.json").read_text())["Context module (dil 1,1,2,4,8,16,1,1x1)"]
NARROW = {"width": 1 / 64, "classes": 2}


def context_layers(model):
    return [layer for layer in model.layers if layer.name.startswith("context") and layer.weights]


# --- sizes


@pytest.mark.parametrize("name", registry.names("fcn*"))
@pytest.mark.parametrize("padding", ["wide", "same"])
def test_fcn_has_a_label_for_each_pixel_of_any_size(name, padding):
    for height, width in ((1, 33), (32, 31), (97, 64)):
        model = cnn_app.create_model(name, image=(height, width, 3), padding=padding, **NARROW)
        assert model.output_shape == (None, height, width, 2)


def test_fcn_cuts_where_the_authors_files_cut():
    """voc-fcn8s: scores of 16, 34 and 70 positions; pool4 is cut at 5, pool3 at 9, the image at 31."""
    model = cnn_app.create_model("fcn8s", **NARROW)
    assert [model.get_layer(n).output.shape[1] for n in ("logits", "up16_logits", "up8_logits", "up1_logits")] == [
        16, 34, 70, 568
    ]  # fmt: skip
    assert (views(model)["fc6"].size, views(model)["fc6"].stride) == (404, 32)
    assert [model.get_layer(f"{n}_crop").cropping[0][0] for n in ("pool4", "pool3", "up1")] == [5, 9, 31]


def test_dilated8_is_of_the_middle_or_of_every_pixel():
    model = cnn_app.create_model("dilated8", image=(380, 396, 3), **NARROW)
    assert model.output_shape == (None, 8, 24, 2)
    for context in ("basic", "large", None):
        model = cnn_app.create_model("dilated8", image=(33, 8, 3), padding="same", context=context, **NARROW)
        assert model.output_shape == (None, 33, 8, 2)


@pytest.mark.parametrize(
    ("name", "columns", "text"),
    [
        ("fcn8s", {"padding": "valid"}, "padding wide or same and up fixed or learned, received 'valid' and 'fixed'"),
        ("fcn8s", {"up": "nearest"}, "received 'wide' and 'nearest'"),
        ("fcn8s", {"stride": 4}, "has scores of stride 32, 16, 8, received 4"),
        ("fcn8s", {"depths": (1, 1)}, r"has five stages, .* received depths \(1, 1\)"),
        ("fcn8s", {"width": 0}, "a width above 0; .* width 0"),
        ("fcn8s", {"image": (0, 9, 3)}, "at least 1x1, received 0x9x3"),
        ("fcn8s", {"classes": 0}, "at least one class"),
        ("dilated8", {"context": "huge"}, "context basic, large or none, received 'valid' and 'huge'"),
        ("dilated8", {"image": (901, 900, 3)}, "372 and a multiple of 8, such as 900, received 901"),
        ("dilated8", {"image": (900, 300, 3)}, "such as 380, received 300"),
        ("deconvnet", {"padding": "wide"}, "padding valid or same, received 'wide'"),
        ("deconvnet", {"image": (224, 250, 3)}, "multiples of 32 from 224 on, such as 224, received 250"),
        ("deconvnet", {"image": (64, 64, 3)}, "such as 224, received 64"),
        ("deconvnet", {"image": (31, 32, 3), "padding": "same"}, "from 32 on, such as 32, received 31"),
    ],
)
def test_what_cannot_be_built_is_told(name, columns, text):
    with pytest.raises(ModelError, match=text):
        cnn_app.create_model(name, **columns)


# --- counts and views of parts


@pytest.mark.parametrize("context", ["basic", "large"])
@pytest.mark.parametrize("classes", [12, 21])
def test_the_context_module_alone_has_the_golden_numbers(context, classes):
    columns = {"padding": "same", "image": (512, 512, 3), "context": context, "classes": classes, "width": 1 / 64}
    found = context_layers(cnn_app.create_model("dilated8", **columns))
    row = FAMILY[f"context_{context}_C{classes}"]
    counts = sum(layer.count_params() for layer in found), sum(map(multiply_adds, found))
    assert counts == (row["trainable"], row["macs"])
    assert [*found[-1].output.shape[1:]] == row["output"]


def test_the_context_module_sees_67_positions_and_908_pixels():
    model = cnn_app.create_model("dilated8", context="basic", **NARROW)
    assert views(model)["fc6"].size == 380 and views(model)["context8_logits"].size == 908
    x = inputs = keras.Input((64, 64, 2))
    for layer in context_layers(cnn_app.create_model("dilated8", image=(512, 512, 3), padding="same", **NARROW)):
        x = layer.__class__.from_config(layer.get_config())(x)
    seen = views(keras.Model(inputs, x))
    for place, (_, size, stride, padding) in enumerate(FIELDS, start=1):
        view = seen[f"context{place}_logits"]
        assert (view.size, view.stride, -view.at(0)[0]) == (size, stride, padding)


def test_fixed_kernels_are_no_weights_that_train():
    fixed, learned = (cnn_app.create_model("fcn16s", padding="same", image=(32, 32, 3), up=up, **NARROW)
                      for up in ("fixed", "learned"))  # fmt: skip
    kernels = (4 * 4 + 32 * 32) * 2 * 2
    assert complexity(learned).trainable - complexity(fixed).trainable == kernels
    fixed.trainable = True
    assert len(learned.trainable_weights) - len(fixed.trainable_weights) == 2
    assert complexity(fixed).macs == complexity(learned).macs


# --- how they start


def test_transposed_convolutions_start_bilinear():
    """In the middle an image that is enlarged by them is the one that is enlarged bilinearly; at the edge are zeros."""
    x = np.random.default_rng(0).normal(size=(1, 6, 5, 3)).astype(np.float32)
    for factor in (2, 8):
        up = layers.Conv2DTranspose(3, 2 * factor, factor, padding="same", kernel_initializer=Bilinear())
        wanted = np.asarray(layers.UpSampling2D(factor, interpolation="bilinear")(x))
        inner = (slice(None), slice(factor, -factor), slice(factor, -factor))
        np.testing.assert_allclose(np.asarray(up(x))[inner], wanted[inner], atol=1e-5)
    np.testing.assert_allclose(np.asarray(Bilinear()((3, 3, 1, 1)))[:, 1, 0, 0], [0.5, 1, 0.5])


@pytest.mark.parametrize("context", ["basic", "large"])
def test_the_context_module_starts_as_the_identity(context):
    """Of what is not negative; the noise of the large one moves it by a little."""
    x = inputs = keras.Input((8, 8, 3))
    columns = {"image": (64, 64, 3), "padding": "same", "context": context, "classes": 3, "width": 1 / 64}
    for layer in context_layers(cnn_app.create_model("dilated8", **columns)):
        config = layer.get_config() | {"kernel_initializer": NestedIdentity(3)}
        x = layer.__class__.from_config(config)(x)
    scores = np.random.default_rng(0).uniform(0, 1, (2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(keras.Model(inputs, x).predict_on_batch(scores), scores, rtol=1e-5)
    kernel = np.asarray(NestedIdentity(3, 0.01)((3, 3, 6, 12)))
    assert (kernel[1, 1, 2:4, 4:8] == 0.25).all() and (kernel == 0.25).sum() == 6 * 4
    assert kernel[kernel != 0.25].std() == pytest.approx(0.0025, rel=0.1)


def test_what_depends_on_the_classes_is_a_head():
    for name, columns in (("fcn8s", {"up": "learned"}), ("dilated8", {})):
        columns = {"padding": "same", "image": (32, 32, 3), "width": 1 / 64} | columns
        few, many = (cnn_app.create_model(name, classes=classes, **columns) for classes in (2, 5))
        heads = {layer.name for layer in few.layers if layer.weights} - freezing.frozen(few, "backbone")
        changed = {a.name for a, b in zip(few.layers, many.layers, strict=True) if a.count_params() != b.count_params()}
        assert heads == changed and "logits" in heads and len(heads) > 4


# --- switches


def test_values_go_back_to_where_the_first_maximum_was():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (2, 6, 8, 3)).astype(np.float32)  # with ties
    pooled, switches = map(np.asarray, MaxPoolingWithArgmax()(x))
    values = rng.normal(size=pooled.shape).astype(np.float32)
    wanted = np.zeros_like(x)
    for n, i, j, c in np.ndindex(pooled.shape):
        window = x[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c]
        row, column = divmod(int(window.argmax()), 2)
        assert pooled[n, i, j, c] == window.max()
        wanted[n, 2 * i + row, 2 * j + column, c] = values[n, i, j, c]
    np.testing.assert_array_equal(MaxUnpooling()([values, switches]), wanted)


def test_deconvnet_mirrors_vgg():
    """Table 2: 7x7 positions of 512 channels, then 224 pixels of 64."""
    model = cnn_app.create_model("deconvnet", image=(224, 224, 3), width=1 / 64)
    shapes = {layer.name: tuple(keras.tree.flatten(layer.output)[0].shape[1:]) for layer in model.layers}
    assert shapes["fc6"] == (1, 1, 64) and shapes["fc6_up_conv"] == (7, 7, 8)
    ends = [shapes[f"up{stage}_unit{unit}_conv"] for stage, unit in ((5, 3), (4, 3), (3, 3), (2, 2), (1, 2))]
    assert ends == [(14, 14, 8), (28, 28, 4), (56, 56, 2), (112, 112, 1), (224, 224, 1)]
    assert views(model)["fc6"].size == 404 and views(model)["up5_unpool"].size == 404 + 6 * 32


@pytest.mark.slow
def test_forward_pass_save_and_reload(tmp_path):
    for name in ("fcn8s", "dilated8", "deconvnet"):
        model = cnn_app.create_model(name, image=(64, 64, 3), padding="same", width=1 / 32, classes=3)
        pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
        logits = model.predict_on_batch(pixels)
        assert logits.shape == (2, 64, 64, 3) and np.isfinite(logits).all()
        model.save(tmp_path / "model.keras")
        np.testing.assert_array_equal(cnn_app.load_model(tmp_path / "model.keras").predict_on_batch(pixels), logits)


# --- files


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fcn8s", "dilated8", "deconvnet"])
def test_every_format_agrees(name, tmp_path):
    """After a few steps on bright squares; switches that are found again among rounded values may be others."""
    rng = np.random.default_rng(0)
    masks = np.zeros((32, 32, 32), np.uint8)
    for mask, (y, x, side) in zip(masks, rng.integers((1, 1, 8), (15, 15, 16), (32, 3)), strict=True):
        mask[y : y + side, x : x + side] = 1
    images = rng.normal(60 + 120 * masks[..., None], 12, (32, 32, 32, 3)).clip(0, 255).astype(np.uint8)
    splits = {"train": (images[:24], masks[:24]), "val": (images[24:], masks[24:])}
    records = sources.arrays(splits, ("ground", "thing"), target="mask")
    columns = {"width": 1 / 16, "image": (32, 32, 3), "padding": "same"}
    schedule = Schedule(epochs=4, batch=8, lr=0.02, augment=())
    cnn_app.train(name, records, tmp_path / "m", columns=columns, schedule=schedule)
    targets = ("saved_model", "tflite-float32", "onnx", "tflite-int8")
    *floats, integers = cnn_app.export(tmp_path / "m", targets, records)
    for result in floats:
        assert result.agreement > 0.999 and result.max_difference < 1e-4, result
    assert integers.agreement > 0.95, integers
