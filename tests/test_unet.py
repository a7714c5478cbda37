"""U-Net: sizes, places of its layers, and what its columns change; its counts and logits are in test_architectures."""

import keras
import numpy as np
import pytest

import cnn_app
from cnn_app import registry
from cnn_app.architectures import unet
from cnn_app.errors import ModelError
from cnn_app.transfer import freezing

NARROW = {"width": 4, "image": (64, 64, 3), "padding": "same"}


def test_the_paper_s_sizes_without_padding():
    """Figure 1: 572 gives 388; 28 is 64 less twice 18, which is what is cut off the map that comes across first."""
    model = cnn_app.create_model("unet", width=1)
    shapes = {layer.name: layer.output.shape[1] for layer in model.layers}
    assert [shapes[f"down{k}_b_conv"] for k in (1, 2, 3, 4)] == [568, 280, 136, 64]
    assert shapes["bottom_b_conv"] == 28 and [shapes[f"up{k}_crop"] for k in (4, 3, 2, 1)] == [56, 104, 200, 392]
    assert [shapes[f"up{k}_b_conv"] for k in (4, 3, 2, 1)] == [52, 100, 196, 388] and shapes["logits"] == 388
    assert model.get_layer("up1_crop").cropping == ((88, 88), (88, 88))


@pytest.mark.parametrize("padding", unet.PADDINGS)
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_sizes_that_come_out_even_build_and_others_name_their_neighbours(padding, depth):
    columns = {"width": 1, "depth": depth, "padding": padding}
    smallest = next(side for side in range(1, 500) if unet.labels(side, unet.UNet(**columns)))
    assert smallest == ({1: 18, 2: 44, 4: 188}[depth] if padding == "valid" else 2**depth)
    other = smallest + 2**depth
    model = cnn_app.create_model("unet", image=(smallest, other, 1), **columns)
    lost = 0 if padding == "same" else {1: 16, 2: 40, 4: 184}[depth]
    assert model.output_shape == (None, smallest - lost, other - lost, 2)
    with pytest.raises(ModelError, match=f"such as {smallest} or {other}, received {smallest + 1}"):
        cnn_app.create_model("unet", image=(smallest, smallest + 1, 1), **columns)
    with pytest.raises(ModelError, match=f"such as {smallest}, received {smallest - 1}"):
        cnn_app.create_model("unet", image=(smallest - 1, smallest, 1), **columns)


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"padding": "full"}, "padding valid or same .* received 'full'"),
        ({"up": "bilinear"}, "up deconv or upconv, received .* 'bilinear'"),
        ({"depth": 0}, "1 to 8 poolings .* received 0"),
        ({"depth": 40}, "1 to 8 poolings .* received 40"),
        ({"width": 0}, "width of at least 1, received 4 and 0"),
        ({"image": (0, 572, 1)}, "such as 188, received 0"),
        ({"image": (572, 572, 0)}, "received 572x572x0"),
        ({"classes": 0}, "at least one class"),
    ],
)
def test_what_cannot_be_built_is_told(columns, text):
    with pytest.raises(ModelError, match=text):
        cnn_app.create_model("unet", **columns)


@pytest.mark.parametrize("up", unet.UPS)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_forward_pass_save_and_reload(up, batch_norm, tmp_path):
    model = cnn_app.create_model("unet", up=up, batch_norm=batch_norm, classes=3, **NARROW)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    logits = model.predict_on_batch(pixels)
    assert logits.shape == (2, 64, 64, 3) and np.isfinite(logits).all()
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(cnn_app.load_model(tmp_path / "model.keras").predict_on_batch(pixels), logits)


def test_features_by_name_and_stride():
    spec = registry.spec("unet", **NARROW)
    taps = unet.features(spec, keras.Input(spec.image))
    sizes = {name: 64 // tap.shape[1] for name, tap in taps.items()}
    assert sizes == {f"{path}{k}": 2 ** (k - 1) for path in ("down", "up") for k in (1, 2, 3, 4)} | {"bottom": 16}
    assert list(taps) == ["down1", "down2", "down3", "down4", "bottom", "up4", "up3", "up2", "up1"]


def test_a_stage_is_the_first_part_of_a_name():
    """Freezing `bottom` freezes the contracting path and nothing behind; the first stage learns slowest."""
    model = cnn_app.create_model("unet", **NARROW)
    frozen = freezing.frozen(model, "bottom")
    learning = {freezing.stage_of(layer.name) for layer in model.layers if layer.weights and layer.name not in frozen}
    assert learning == {"up1", "up2", "up3", "up4", "logits"}
    factors = freezing.factors(model, 0.5)
    assert factors["logits"] == 1 and factors["up1_up"] == 0.5 and factors["down1_a_conv"] == 0.5**9


def test_dropout_ends_the_contracting_path():
    """What goes across from the last stage has dropout, too, as in the authors' network."""
    model = cnn_app.create_model("unet", **NARROW)
    places = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert places == ["down4_dropout", "bottom_dropout"]
    assert model.get_layer("up4_concat").input[0] is model.get_layer("down4_dropout").output
    model = cnn_app.create_model("unet", dropout=0.0, **NARROW)
    assert not [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]


def test_weights_start_with_the_spread_of_the_paper():
    """Section 3: sqrt(2 / N); for transposed ones N is counted as the authors' Caffe does, outputs times taps."""
    model = cnn_app.create_model("unet", width=16, image=(64, 64, 16), padding="same")
    for name in ("down1_b_conv", "bottom_b_conv", "up4_up"):
        kernel = np.asarray(model.get_layer(name).kernel)
        incoming = np.prod(kernel.shape[:3])  # (kh, kw, in, out), of transposed ones (kh, kw, out, in)
        assert kernel.std() == pytest.approx(np.sqrt(2 / incoming), rel=0.05) and abs(kernel.mean()) < 0.01
