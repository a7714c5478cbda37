import numpy as np
import pytest

import cnn_app
from cnn_app.artifacts import ModelDir
from cnn_app.errors import ModelError
from cnn_app.recipe import Data, Schedule
from cnn_app.training.run import plan, run
from cnn_app.transfer import copy_weights, finetune

SCHEDULE = Schedule(epochs=1, batch=64)
FEW = {"depths": (1, 1, 1)}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    directory = ModelDir(tmp_path_factory.mktemp("store") / "digits")
    run(plan("resnet20", FEW, Data(source="digits", image=(16, 16, 3)), SCHEDULE), directory)
    return directory


def trained(source, tmp_path, **options):
    planned = finetune.prepare(source, Data(source="shapes"), SCHEDULE, **options)
    run(planned, ModelDir(tmp_path / "shapes"))
    before, after = cnn_app.load_model(source.path), cnn_app.load_model(tmp_path / "shapes")
    return {
        layer.name: all(
            np.array_equal(old, new)
            for old, new in zip(before.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True)
        )
        for layer in after.layers
        if layer.weights and layer.name != "logits"
    }


def test_a_frozen_backbone_keeps_every_weight(source, tmp_path):
    assert all(trained(source, tmp_path, freeze_backbone=True, freeze_batch_norm=True).values())
    card = ModelDir(tmp_path / "shapes").read_card()
    assert card.labels == ("circle", "cross", "square", "star", "triangle") and card.columns["depths"] == (1, 1, 1)


@pytest.mark.parametrize("freeze_batch_norm", [True, False])
def test_batch_norm_stays_or_learns(source, tmp_path, freeze_batch_norm):
    kept = trained(source, tmp_path, freeze_backbone=False, freeze_batch_norm=freeze_batch_norm)
    assert {kept[name] for name in kept if name.endswith("_bn")} == {freeze_batch_norm}
    assert not any(kept[name] for name in kept if name.endswith("_conv"))


def test_the_same_classes_keep_the_head(source):
    planned = finetune.prepare(source, Data(source="digits"), SCHEDULE, freeze_backbone=False, freeze_batch_norm=True)
    head = cnn_app.load_model(source.path).get_layer("logits").get_weights()
    for ours, theirs in zip(planned.model.get_layer("logits").get_weights(), head, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_that_do_not_fit_are_refused():
    small, other = (cnn_app.create_model("resnet20", stem=stem) for stem in (16, 8))
    with pytest.raises(ModelError, match="do not fit resnet20 at 'stem_conv'"):
        copy_weights(small, other)
    with pytest.raises(ModelError, match="have no layer 'c1'"):
        copy_weights(small, cnn_app.create_model("lenet5"))
    same = cnn_app.create_model("resnet20", stem=16)
    copy_weights(small, same)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))
    np.testing.assert_array_equal(small.predict_on_batch(pixels), same.predict_on_batch(pixels))


@pytest.mark.parametrize("output_stride", [4, 8])
def test_the_place_of_the_stride_comes_along_where_dilation_stands_for_it(output_stride):
    """Weights of v1.5 in a finer network that was built as v1 give what they give in one that was built as v1.5."""
    columns = {"depths": (1, 1, 2, 1), "image": (64, 64, 3), "classes": 3}
    source = cnn_app.create_model("resnet50", stride_on=3, **columns)
    rng = np.random.default_rng(0)
    source.set_weights([w + rng.uniform(0.0, 0.2, w.shape) for w in source.get_weights()])
    moved, built = (
        cnn_app.create_model("resnet50", stride_on=place, output_stride=output_stride, **columns) for place in (1, 3)
    )
    pixels = rng.uniform(0, 255, (2, 64, 64, 3))
    for model in (moved, built):
        copy_weights(source, model)
    expected = built.predict_on_batch(pixels)
    np.testing.assert_allclose(moved.predict_on_batch(pixels), expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
    assert moved.get_layer("pool").input.shape[1] == 64 // output_stride


def test_auxiliary_heads_are_new_with_other_classes():
    small, other = (cnn_app.create_model("googlenet", aux=True, image=(80, 80, 3), classes=n) for n in (3, 4))
    copy_weights(small, other, new_head=True)
    for ours, theirs in zip(
        other.get_layer("aux1_fc").get_weights(), small.get_layer("aux1_fc").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ModelError, match="logits"):
        copy_weights(small, other)
