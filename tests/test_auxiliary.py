"""Auxiliary classifiers help while training, and are gone at inference and export."""

import keras
import numpy as np
import pytest

import cnn_app
from cnn_app.export.graph import deployable
from cnn_app.recipe import Schedule
from cnn_app.runtimes.keras_model import KerasRuntime
from cnn_app.tasks import classification
from cnn_app.training import engine


@pytest.fixture(scope="module")
def model():
    return cnn_app.create_model("googlenet", aux=True, image=(80, 80, 3), classes=4)


PIXELS = np.random.default_rng(0).integers(0, 256, (4, 80, 80, 3)).astype(np.uint8)


def test_their_losses_count_three_tenths(model):
    engine.compile_model(model, Schedule())
    labels = np.eye(4, dtype="float32")
    measured = model.test_on_batch(PIXELS, classification.targets(model, labels), return_dict=True)
    outputs = model.predict_on_batch(PIXELS)
    losses = {
        name: float(np.mean(keras.ops.categorical_crossentropy(labels, value, from_logits=True)))
        for name, value in outputs.items()
    }
    assert measured["loss"] == pytest.approx(losses["logits"] + 0.3 * (losses["aux1"] + losses["aux2"]), rel=1e-4)


def test_a_step_trains_all_three(model):
    engine.compile_model(model, Schedule())
    before = {name: model.get_layer(name).get_weights()[0] for name in ("logits", "aux1_logits", "aux2_logits")}
    logs = engine.train_step(model, PIXELS, np.eye(4, dtype="float32"), 1e-3)
    assert set(logs) == {"loss", "top1"} and np.isfinite(logs["loss"])
    assert all((model.get_layer(name).get_weights()[0] != old).any() for name, old in before.items())


def test_they_are_gone_at_inference_and_export(model):
    copy = deployable(model)
    assert not [layer.name for layer in copy.layers if layer.name.startswith("aux")]
    logits = model.predict_on_batch(PIXELS)["logits"]
    np.testing.assert_allclose(copy.predict_on_batch(PIXELS), logits, atol=1e-4)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(KerasRuntime(model).predict(PIXELS), probabilities, atol=1e-5)
