"""Weights of VGG in the segmentation networks that stand on it."""

import keras
import numpy as np
import pytest

import cnn_app
from cnn_app.errors import ModelError
from cnn_app.transfer import load_weights
from cnn_app.transfer.pretrained.naming import Network, keras_applications, torchvision

COLUMNS = {"width": 0.02, "depths": (1, 1, 2, 2, 2), "image": (224, 224, 3)}


@pytest.fixture(scope="module")
def vgg():
    return cnn_app.create_model("vgg11", classes=4, width=0.02, pixel_mean=100.0)


def torch_state(model):
    """Its weights as torchvision lays them out: fully connected layers see channels first."""
    places = torchvision.feature_places(network_of(model)) | {
        "fc6": "classifier.0", "fc7": "classifier.3", "logits": "classifier.6"}  # fmt: skip
    state = {}
    for layer in (layer for layer in model.layers if layer.weights):
        kernel, *others = layer.get_weights()
        if layer.name == "fc6":
            kernel = kernel.reshape(7, 7, -1, kernel.shape[-1]).transpose(2, 0, 1, 3).reshape(kernel.shape)
        if layer.name.endswith("_bn"):
            parts = ("weight", "bias", "running_mean", "running_var")
            values = zip(parts, (kernel, *others), strict=True)
            state |= {f"{places[layer.name]}.{part}": value for part, value in values}
            continue
        state[f"{places[layer.name]}.weight"] = kernel.T if kernel.ndim == 2 else kernel.transpose(3, 2, 0, 1)
        state[f"{places[layer.name]}.bias"] = others[0]
    return state


def keras_state(model):
    (naming, *_) = keras_applications.namings(network_of(model))
    return {naming.key(layer.name, weight.name): keras.ops.convert_to_numpy(weight)
            for layer in model.layers for weight in layer.weights}  # fmt: skip


def network_of(model):
    names = tuple(layer.name for layer in model.layers)
    return Network("vgg", tuple(layer.name for layer in model.layers if layer.weights), names, frozenset())


@pytest.mark.parametrize("kind", ["torchvision", "keras.applications", "cnn_app"])
def test_fcn_computes_what_vgg_did(kind, vgg, tmp_path):
    """Where nothing is padded but fc6, its middle position of 7x7 sees all that VGG sees."""
    fcn = cnn_app.create_model("fcn8s", classes=2, padding="same", **COLUMNS)
    if kind == "cnn_app":
        vgg.save(tmp_path / "vgg.keras")
        loaded = load_weights(fcn, tmp_path / "vgg.keras")
        columns = {}
    else:
        np.savez(tmp_path / "vgg.npz", **(torch_state if kind == "torchvision" else keras_state)(vgg))
        loaded = load_weights(fcn, tmp_path / "vgg.npz")
        columns = {"vgg11": "torchvision"}
    assert loaded.source.startswith(kind) and loaded.new_head
    whole = vgg
    if columns:  # with the scaling that comes with them
        whole = cnn_app.create_model("vgg11", classes=4, width=0.02)
        load_weights(whole, tmp_path / "vgg.npz")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.float32)
    expected = keras.Model(whole.input, whole.get_layer("fc7").output).predict_on_batch(pixels)
    found = keras.Model(fcn.input, fcn.get_layer("fc7").output).predict_on_batch(pixels)
    assert found.shape == (2, 7, 7, expected.shape[-1]) and expected.std() > 0
    np.testing.assert_allclose(found[:, 3, 3], expected, rtol=1e-4, atol=1e-5 * expected.max())
    assert not np.any(fcn.get_layer("logits").get_weights()[0])  # as section 4 starts it


def test_the_trunks_of_the_others(vgg, tmp_path):
    np.savez(tmp_path / "vgg.npz", **torch_state(vgg))
    dilated = cnn_app.create_model("dilated8", classes=2, padding="same", **COLUMNS)
    load_weights(dilated, tmp_path / "vgg.npz")
    for layer in (x for x in vgg.layers if x.weights and x.name != "logits"):
        found, expected = dilated.get_layer(layer.name).get_weights(), layer.get_weights()
        np.testing.assert_array_equal(found[0].reshape(expected[0].shape), expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
    deconvnet = cnn_app.create_model("deconvnet", classes=2, **COLUMNS)
    with pytest.raises(ModelError, match="stage1_unit1_bn|features.1"):
        load_weights(deconvnet, tmp_path / "vgg.npz")
    normalized = cnn_app.create_model("vgg11_bn", classes=4, width=0.02)
    for layer in (layer for layer in normalized.layers if layer.weights):
        layer.set_weights([np.random.default_rng(1).uniform(0.5, 1.5, weight.shape) for weight in layer.weights])
    np.savez(tmp_path / "bn.npz", **torch_state(normalized))
    load_weights(deconvnet, tmp_path / "bn.npz")
    for layer in (x for x in normalized.layers if x.weights and x.name.startswith("stage")):
        for found, expected in zip(deconvnet.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_a_file_without_the_wide_layers_is_told(vgg, tmp_path):
    state = {name: value for name, value in torch_state(vgg).items() if not name.startswith("classifier")}
    np.savez(tmp_path / "vgg.npz", **state)
    with pytest.raises(ModelError, match="4 missing .*classifier.0.weight"):
        load_weights(cnn_app.create_model("fcn8s", classes=2, padding="same", **COLUMNS), tmp_path / "vgg.npz")


def test_a_decoder_leaves_out_what_classifies(vgg, tmp_path):
    """fc6 and fc7 have no place in it; the first convolution of keras.applications' VGG sees blue first."""
    np.savez(tmp_path / "vgg.npz", **keras_state(vgg))
    columns = {"width": 0.02, "image": (64, 64, 3)}
    model = cnn_app.create_model("vgg11", head="segmentation", classes=3, **columns)
    assert load_weights(model, tmp_path / "vgg.npz").new_head
    first, deepest = "stage1_unit1_conv", "stage5_unit2_conv"
    np.testing.assert_array_equal(
        model.get_layer(first).get_weights()[0], vgg.get_layer(first).get_weights()[0][:, :, ::-1]
    )
    np.testing.assert_array_equal(model.get_layer(deepest).get_weights()[0], vgg.get_layer(deepest).get_weights()[0])
