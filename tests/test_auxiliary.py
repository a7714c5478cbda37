"""Auxiliary classifiers help while training, and are gone at inference and export."""

import keras
import numpy as np
import pytest
from scores import keras_scores

import cnn_app
from cnn_app.data.dataset import Split, in_memory
from cnn_app.export.graph import deployable
from cnn_app.inputs.image import Image
from cnn_app.recipe import Schedule
from cnn_app.tasks.classification import Classification
from cnn_app.training import engine


@pytest.fixture(scope="module")
def model():
    return cnn_app.create_model("googlenet", aux=True, image=(80, 80, 3), classes=4)


PIXELS = np.random.default_rng(0).integers(0, 256, (4, 80, 80, 3)).astype(np.uint8)
TARGETS = {"class": np.eye(4, dtype="float32")}  # shares, as augmentation makes them
SPLIT = Split(tuple("abcd"), {"image": in_memory(PIXELS)}, {"class": in_memory(np.arange(4))})
TASK = Classification(input=Image((80, 80, 3)), labels=tuple("abcd"))


def test_their_losses_count_three_tenths(model):
    outputs = model.predict_on_batch(PIXELS)
    measured = TASK.objective(Schedule(), SPLIT)(outputs, TARGETS)
    losses = {
        name: np.asarray(keras.ops.categorical_crossentropy(TARGETS["class"], value, from_logits=True))
        for name, value in outputs.items()
    }
    expected = losses["logits"] + 0.3 * (losses["aux1"] + losses["aux2"])
    np.testing.assert_allclose(measured, expected, rtol=1e-4)


@pytest.mark.slow
def test_a_step_trains_all_three(model):
    before = {name: model.get_layer(name).get_weights()[0] for name in ("logits", "aux1_logits", "aux2_logits")}
    stepper = engine.stepper(model, TASK, SPLIT, Schedule())
    stepper.train({"image": PIXELS}, TARGETS, 1e-3)
    (logs,) = stepper.read()
    assert set(logs) == {"loss", "top1"} and np.isfinite(logs["loss"])
    assert all((model.get_layer(name).get_weights()[0] != old).any() for name, old in before.items())


def test_they_are_gone_at_inference_and_export(model):
    copy = deployable(model)
    assert not [layer.name for layer in copy.layers if layer.name.startswith("aux")]
    logits = model.predict_on_batch(PIXELS)["logits"]
    np.testing.assert_allclose(copy.predict_on_batch(PIXELS), logits, atol=1e-4)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(keras_scores(model, PIXELS), probabilities, atol=1e-5)
