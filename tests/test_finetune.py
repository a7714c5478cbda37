import os
import signal

import numpy as np
import pytest

import cnn_app
from cnn_app.artifacts import ModelDir
from cnn_app.errors import CnnAppError, ModelError, TrainingError, UnknownName
from cnn_app.jobs import finetune
from cnn_app.jobs.rehearsal import memorise
from cnn_app.jobs.train import plan, run
from cnn_app.recipe import Schedule, Transfer
from cnn_app.runtimes.keras_model import KerasRuntime
from cnn_app.training import engine
from cnn_app.transfer import copy_weights, features, freezing, linear

SCHEDULE = Schedule(epochs=1, batch=64)
FEW = {"depths": (1, 1, 1), "image": (16, 16, 3)}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    directory = ModelDir(tmp_path_factory.mktemp("store") / "digits")
    run(plan("resnet20", FEW, "digits", SCHEDULE), directory)
    return directory


def prepared(source, schedule=SCHEDULE, data="shapes", **transfer):
    return finetune.prepare(str(source.path), {}, data, schedule, Transfer(**transfer))


def kept(source, model):
    """Layer name -> whether it has the weights of `source` still."""
    before = cnn_app.load_model(source.path)
    return {
        layer.name: all(
            np.array_equal(old, new)
            for old, new in zip(before.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True)
        )
        for layer in model.layers
        if layer.weights and layer.name != "logits"
    }


def trained(source, tmp_path, **transfer):
    run(prepared(source, **transfer), ModelDir(tmp_path / "shapes"))
    return kept(source, cnn_app.load_model(tmp_path / "shapes"))


@pytest.mark.slow
def test_a_frozen_backbone_keeps_every_weight(source, tmp_path):
    assert all(trained(source, tmp_path, freeze="backbone").values())
    card = ModelDir(tmp_path / "shapes").read_card()
    assert card.labels == ("circle", "cross", "square", "star", "triangle") and card.columns["depths"] == (1, 1, 1)
    assert card.recipe["transfer"]["freeze"] == "backbone"


@pytest.mark.slow
@pytest.mark.parametrize("train_batch_norm", [pytest.param(True, marks=pytest.mark.slow), False])
def test_batch_norm_stays_or_learns(source, tmp_path, train_batch_norm):
    same = trained(source, tmp_path, recipe="tune", train_batch_norm=train_batch_norm)  # so that no start is kept
    assert {same[name] for name in same if name.endswith("_bn")} == {not train_batch_norm}
    assert not any(same[name] for name in same if name.endswith("_conv"))


@pytest.mark.slow
def test_everything_up_to_a_stage_is_frozen_then_freed(source, tmp_path):
    """In the first epoch stage 1 and what is in front of it stays; in the second the stem alone."""
    schedule = Schedule(epochs=2, batch=64)
    job = prepared(source, schedule, freeze="stage1", unfreeze_at=("2:stem",))
    seen = []
    watch = engine.Watch(epoch=lambda row: row["epoch"] and seen.append(kept(source, job.model)))
    run(job, ModelDir(tmp_path / "out"), watch=watch)
    convolutions = [name for name in seen[0] if name.endswith("_conv")]
    assert [{name.split("_")[0] for name in convolutions if same[name]} for same in seen] == [
        {"stem", "stage1"}, {"stem"}
    ]  # fmt: skip
    lines = freezing.describe(job.model, job.freeze)
    own = {layer.name: layer.count_params() for layer in job.model.layers if not layer.name.endswith("_bn")}
    late = sum(count for name, count in own.items() if name.startswith(("stage2", "stage3", "logits")))
    assert lines[0].startswith(
        f"from epoch 1: {late:,} of {job.model.count_params():,} weights learn, in 5 of 15 layers"
    )
    assert lines[1].startswith("from epoch 2: ") and "in 7 of 15 layers" in lines[1]


def test_branches_beside_a_stage_are_not_frozen_with_it():
    model = cnn_app.create_model("googlenet", image=(64, 64, 3), classes=2)
    frozen = freezing.frozen(model, "inception3a", train_batch_norm=True)
    assert {name.split("_")[0] for name in frozen if "inception" in name} == {"inception3a"} and "conv1_conv" in frozen


@pytest.mark.parametrize("stop_at", [8, 10, 22])
@pytest.mark.slow
def test_a_run_in_phases_resumes_to_the_same_result(source, tmp_path, stop_at):
    """Stopped within the first phase of 10 steps, at its end, and in the second."""

    def job():
        schedule = Schedule(epochs=3, batch=64, class_weights="balanced", augment=("flip", "mixup", "cutmix"))
        return prepared(source, schedule, freeze="backbone", unfreeze_at=("2",), layer_decay=0.5)

    assert job().stream.steps == 10
    whole, parts = (ModelDir(tmp_path / name) for name in ("whole", "parts"))
    run(job(), whole)

    def stop(epoch, done, steps, logs):
        if epoch * steps + done == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingError, match="--resume"):
        run(job(), parts, watch=engine.Watch(step=stop))
    run(job(), parts, resume=True)
    assert parts.history.read_text() == whole.history.read_text()
    for ours, theirs in zip(*(cnn_app.load_model(d.path).get_weights() for d in (parts, whole)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_same_classes_keep_the_head(source):
    planned = prepared(source, data="digits")
    assert planned.learned
    head = cnn_app.load_model(source.path).get_layer("logits").get_weights()
    for ours, theirs in zip(planned.model.get_layer("logits").get_weights(), head, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_new_head_starts_as_the_linear_classifier(source):
    """Its top-1 on train is that of logistic regression on the same features, and well above a random head's."""
    probe, random = prepared(source), prepared(source, recipe="tune")
    train = probe.dataset.splits["train"]
    scores = [
        engine.measure(job.task, KerasRuntime(job.task.deployed(job.model)), train).top1 for job in (probe, random)
    ]
    found = features.extract(features.tapped(probe.model), probe.task, probe.dataset)
    rows = found.split == "train"
    classifier = linear.fit(found.vectors[rows], found.targets[rows], 5)
    expected = (classifier.predict(found.vectors[rows]) == found.targets[rows]).mean()
    assert (probe.learned, random.learned) == (True, False)
    assert scores[0] == pytest.approx(expected) and scores[0] > 1.3 * scores[1]


@pytest.mark.slow
def test_a_memorised_batch_leaves_frozen_layers_alone(source):
    """Batch statistics included; only the head learns."""
    job = prepared(source, Schedule(epochs=3, batch=4, lr=0.01), recipe="tune", freeze="backbone", unfreeze_at=("2",))
    head = job.model.get_layer("logits").get_weights()
    assert memorise(job)["top1"] == 1.0
    assert all(kept(source, job.model).values())
    assert not np.array_equal(head[0], job.model.get_layer("logits").get_weights()[0])


def test_layer_decay_by_hand(source):
    """Stages stem, stage1, 2, 3 and the head: decay to the power 4, 3, 2, 1, 0."""
    model = cnn_app.load_model(source.path)
    rates = freezing.factors(model, 0.5)
    assert {name.split("_")[0]: rate for name, rate in rates.items()} == {
        "stem": 1 / 16, "stage1": 1 / 8, "stage2": 1 / 4, "stage3": 1 / 2, "logits": 1
    }  # fmt: skip
    assert freezing.factors(model, 1.0) == {}


@pytest.mark.parametrize(
    ("transfer", "error", "text"),
    [
        ({"freeze": "stage9"}, UnknownName, "no layer or stage named 'stage9'; did you mean stage"),
        ({"freeze": "stage2", "unfreeze_at": ("9:stem",)}, TrainingError, "to the last, 3, .* received '9:stem'"),
        ({"unfreeze_at": ("soon",)}, TrainingError, "received 'soon'"),
        ({"freeze": "backbone", "unfreeze_at": ("3", "2")}, TrainingError, "received 2 after 3"),
        ({"unfreeze_at": ("2:stemm",)}, UnknownName, "'stemm'; did you mean stem"),
        ({"weights": "/nowhere/at.h5"}, CnnAppError, "/nowhere/at.h5"),
    ],
)
def test_what_cannot_be_done_is_told_at_once(source, transfer, error, text):
    with pytest.raises(error, match=text):
        prepared(source, Schedule(epochs=3, batch=64), **transfer)


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
