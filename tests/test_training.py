"""The loop: what it learns, what it leaves behind, how it stops and goes on."""

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import types

import keras
import numpy as np
import pytest

import cnn_app
from cnn_app import tasks
from cnn_app.artifacts import ModelDir
from cnn_app.atomic import write_text
from cnn_app.data.dataset import Split, in_memory
from cnn_app.errors import ArtifactError, CnnAppError, TrainingError
from cnn_app.jobs.rehearsal import dry_run, memorise
from cnn_app.jobs.train import plan, run
from cnn_app.recipe import Schedule
from cnn_app.tasks import classification
from cnn_app.training import checkpoint, engine, optimizers

SCHEDULE = Schedule(epochs=3, batch=128, lr=0.003, augment=("flip", "crop"), seed=5)
COLUMNS = {"dropout": 0.2}


def job(schedule=SCHEDULE, name="lenet5", columns=None, source="digits"):
    return plan(name, COLUMNS if columns is None else columns, source, schedule)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = ModelDir(tmp_path_factory.mktemp("store") / "digits")
    run(job(), directory)
    return directory


def weights(directory):
    return cnn_app.load_model(directory.path).get_weights()


def test_a_run_leaves_model_card_history_and_curves(finished):
    card = finished.read_card()
    assert card.architecture == "lenet5" and card.columns["dropout"] == 0.2 and card.labels == tuple("0123456789")
    assert card.metrics["test"]["top1"] > 0.5 and card.data["counts"]["train"] == 1258
    assert (card.task, card.input, card.options) == ("classification", {"kind": "image", "image": [32, 32, 1]}, {})
    rows = list(csv.DictReader(finished.history.read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert finished.curves.read_bytes().startswith(b"\x89PNG") and not finished.training.exists()


def test_the_kept_checkpoint_is_the_best_epoch(finished):
    rows = list(csv.DictReader(finished.history.read_text().splitlines()))
    best = max(rows, key=lambda row: (float(row["val_top1"]), -float(row["val_loss"])))
    assert finished.read_card().metrics["epoch"] == int(best["epoch"])
    assert finished.read_card().metrics["val"]["top1"] == float(best["val_top1"])


@pytest.mark.parametrize("stop_at", [4, *(pytest.param(step, marks=pytest.mark.slow) for step in (9, 17))])
def test_resume_gives_the_same_result_bit_for_bit(finished, tmp_path, stop_at):
    """Stopped in the middle of an epoch and at its end (9 steps each), with dropout, augmentation and AdamW."""
    directory = ModelDir(tmp_path / "digits")

    def stop(epoch, done, steps, logs):
        if epoch * steps + done == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingError, match=f"after step {stop_at}; .*--resume"):
        run(job(), directory, watch=engine.Watch(step=stop))
    run(job(), directory, resume=True)
    for ours, theirs in zip(weights(directory), weights(finished), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert directory.history.read_text() == finished.history.read_text()
    assert directory.read_card().metrics == finished.read_card().metrics


@pytest.mark.slow
def test_another_seed_gives_another_result(finished, tmp_path):
    directory = ModelDir(tmp_path / "other")
    run(job(Schedule(epochs=1, batch=128, seed=6)), directory)
    assert any((ours != theirs).any() for ours, theirs in zip(weights(directory), weights(finished), strict=True))


@pytest.mark.slow
def test_resume_refuses_other_settings_and_missing_runs(tmp_path):
    directory = ModelDir(tmp_path / "digits")
    with pytest.raises(TrainingError, match="nothing to resume"):
        run(job(), directory, resume=True)

    def stop(epoch, done, steps, logs):
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(TrainingError, match="after step 1"):
        run(job(), directory, watch=engine.Watch(step=stop))
    with pytest.raises(TrainingError, match="another lr: it was 0.003 and is 0.1 now"):
        run(job(Schedule(epochs=3, batch=128, lr=0.1, augment=("flip", "crop"), seed=5)), directory, resume=True)
    for name in ("state.npz", "previous.npz"):
        (directory.training / name).write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(CnnAppError, match="previous.npz is damaged; remove"):
        run(job(), directory, resume=True)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run of three epochs, stopped in its second: its newest checkpoint, and the one of its first."""
    directory = ModelDir(tmp_path_factory.mktemp("stopped") / "digits")

    def stop(epoch, done, steps, logs):
        if (epoch, done) == (1, 2):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingError, match="after step 11"):
        run(job(), directory, watch=engine.Watch(step=stop))
    return directory


def torn(data):
    return data[: len(data) // 2]


def flipped(data):
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


def without_digest(data):
    return data[:-38]


@pytest.mark.parametrize("harm", (torn, flipped, without_digest))
def test_a_damaged_checkpoint_gives_way_to_the_one_before(stopped, tmp_path, harm):
    directory, told = ModelDir(shutil.copytree(stopped.path, tmp_path / "digits")), []
    settings = job().settings
    assert checkpoint.read(directory, settings, told.append).position.step == 11 and not told
    newest = directory.training / "state.npz"
    newest.write_bytes(harm(newest.read_bytes()))
    assert checkpoint.read(directory, settings, told.append).position.step == 9
    assert told == [f"{newest} is damaged; going on from the checkpoint before it"]
    newest.unlink()  # a kill between two renames
    assert checkpoint.read(directory, settings, told.append).position.step == 9


@pytest.mark.slow
def test_from_the_checkpoint_before_a_run_ends_alike(stopped, finished, tmp_path):
    directory = ModelDir(shutil.copytree(stopped.path, tmp_path / "digits"))
    newest = directory.training / "state.npz"
    newest.write_bytes(torn(newest.read_bytes()))
    run(job(), directory, resume=True)
    for ours, theirs in zip(weights(directory), weights(finished), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_new_run_knows_no_checkpoint_of_an_old_one(tmp_path):
    directory, arrays = ModelDir(tmp_path / "m"), {"model/a": np.zeros(2)}
    for step in (1, 2):
        checkpoint.save(directory, arrays, checkpoint.Position(step), {}, {})
    checkpoint.save(directory, arrays, checkpoint.Position(0), {}, {}, first=True)
    assert [path.name for path in directory.training.glob("*.npz")] == ["state.npz"]


def test_a_stopped_run_goes_on_for_longer_and_says_what_that_does(stopped):
    told, directory = [], stopped
    longer = dataclasses.replace(SCHEDULE, epochs=4)
    saved = checkpoint.read(directory, job(longer).settings, told.append)
    assert saved.settings["epochs"] == 3
    line = engine._longer(saved, longer, 9)
    assert line == "going on for 4 epochs, not 3: the rate falls until then, and is 0.00296 now where it was 0.00291"
    constant = dataclasses.replace(longer, rate="constant")
    assert engine._longer(saved, constant, 9) == "going on for 4 epochs, not 3"
    with pytest.raises(TrainingError, match="another epochs: it was 3 and is 2 now"):
        checkpoint.read(directory, job(dataclasses.replace(SCHEDULE, epochs=2)).settings, told.append)


def test_a_model_is_not_replaced_by_accident(finished):
    before = finished.model.read_bytes()
    for start in (cnn_app.train, cnn_app.finetune):
        with pytest.raises(
            TrainingError, match="holds a model already; --resume goes on with it, --overwrite replaces"
        ):
            start("lenet5", "digits", finished.path)
    assert finished.model.read_bytes() == before


@pytest.mark.slow
def test_exports_of_the_old_model_go_when_the_new_one_is_there(tmp_path, monkeypatch):
    """Not before: they are good for the old model as long as that is there."""
    directory, schedule = ModelDir(tmp_path / "digits"), Schedule(epochs=1, batch=128)
    run(job(schedule), directory)
    exported = directory.mobile / "digits-int8.tflite"
    write_text(exported, "")
    directory.announce_export({"path": "mobile/digits-int8.tflite"})

    def there():
        return exported.is_file() and directory.exports.is_file()

    seen = []
    watch = engine.Watch(step=lambda *step: seen.append(there()), epoch=lambda row: seen.append(there()))
    with monkeypatch.context() as patch:
        patch.setattr(ModelDir, "write_card", lambda *arguments: pytest.fail("the disk is full"))
        with pytest.raises(pytest.fail.Exception):
            cnn_app.train("lenet5", "digits", directory.path, schedule=schedule, overwrite=True)
    assert there()
    cnn_app.train("lenet5", "digits", directory.path, schedule=schedule, overwrite=True, watch=watch)
    assert seen == [True] * 9 + [False] and not there() and directory.read_exports() == []


@pytest.mark.slow
def test_a_model_without_its_card_is_refused(tmp_path):
    """As a run leaves it that is killed after its model was written."""
    directory = ModelDir(tmp_path / "digits")
    run(job(Schedule(epochs=1, batch=128)), directory)
    model = cnn_app.load_model(directory.path)
    model.save(directory.model)
    with pytest.raises(ArtifactError, match="are of two runs, .*--resume, or train again with --overwrite") as caught:
        cnn_app.load_model(directory.path)
    assert "\n" not in str(caught.value)


def test_dry_run_and_memorised_batch(tmp_path):
    planned = job()
    looked = dry_run(planned)
    assert looked["steps_per_epoch"] == 9 and looked["steps"] == 27 and np.isfinite(looked["first_loss"])
    assert looked["input"] == {"kind": "image", "image": [32, 32, 1]} and looked["records"]["train"] == 1258
    learned = memorise(job(Schedule(batch=16, lr=0.003)))
    assert learned["top1"] == 1.0 and learned["n"] == 16 and learned["steps"] == engine.OVERFIT_STEPS
    with pytest.raises(TrainingError, match="lenet5 did not memorise 64 images in 200 steps: top-1 0"):
        memorise(job(Schedule(batch=64, lr=0.0)))


def test_decay_leaves_biases_and_normalization_alone():
    """With no gradient, decoupled decay multiplies a kernel by 1 - lr * decay and nothing else."""
    model = cnn_app.create_model("resnet20", image=(8, 8, 3))
    for name in ("adamw", "sgd"):
        optimizer = optimizers.optimizer(Schedule(optimizer=name, lr=0.1, weight_decay=0.5))
        model.compile(optimizer, "mse")
        before = [np.asarray(variable) for variable in model.trainable_variables]
        optimizer.apply([np.zeros(variable.shape, "float32") for variable in before], model.trainable_variables)
        for variable, old in zip(model.trainable_variables, before, strict=True):
            factor = 0.95 if variable.name == "kernel" else 1.0
            np.testing.assert_allclose(np.asarray(variable), factor * old, rtol=1e-5, err_msg=variable.path)


def test_learning_rates_by_hand():
    cosine = Schedule(epochs=10, lr=1.0, warmup=2)
    values = [optimizers.learning_rate(cosine, step, 10) for step in range(100)]
    assert values[0] == pytest.approx(1 / 21) and max(values) == 1.0 == values[20]
    assert values[60] == pytest.approx(0.5) and values[-1] < 1e-3
    plateau = Schedule(epochs=10, lr=1.0, warmup=0, rate="plateau")
    assert [optimizers.learning_rate(plateau, 50, 10, n) for n in (0, 1, 2)] == pytest.approx([1, 0.1, 0.01])
    assert optimizers.learning_rate(Schedule(lr=0.5, warmup=0, rate="constant"), 99, 10, 2) == 0.5


def test_rates_by_layer_by_hand():
    """With no gradient a kernel shrinks by its layer's rate times the decay; Adam's first step is the rate itself."""
    model = cnn_app.create_model("resnet20", image=(8, 8, 3))
    optimizer = optimizers.optimizer(Schedule(lr=0.1, weight_decay=0.0), {"stem_conv": 0.25})
    model.compile(optimizer, "mse")
    before = [np.asarray(variable) for variable in model.trainable_variables]
    optimizer.apply([np.ones(variable.shape, "float32") for variable in before], model.trainable_variables)
    for variable, old in zip(model.trainable_variables, before, strict=True):
        rate = 0.025 if variable.path.startswith("stem_conv") else 0.1
        np.testing.assert_allclose(np.asarray(variable), old - rate, rtol=1e-4, atol=1e-6, err_msg=variable.path)


def test_decay_is_by_the_layers_own_rate():
    """With no gradient a kernel of a layer at a quarter of the rate loses a quarter of the decay."""
    model = cnn_app.create_model("resnet20", image=(8, 8, 3))
    for name in ("adamw", "sgd"):
        optimizer = optimizers.optimizer(Schedule(optimizer=name, lr=0.1, weight_decay=0.5), {"stem_conv": 0.25})
        before = {variable.path: np.asarray(variable) for variable in model.trainable_variables}
        optimizer.apply([np.zeros(value.shape, "float32") for value in before.values()], model.trainable_variables)
        for variable in model.trainable_variables:
            factor = 1.0 if variable.name != "kernel" else 0.9875 if variable.path.startswith("stem_conv") else 0.95
            np.testing.assert_allclose(variable, factor * before[variable.path], rtol=1e-5, err_msg=variable.path)


def test_label_smoothing_by_hand():
    """A fifth is spread over four classes: 0.85 for the right one, 0.05 for each other."""
    logits = np.array([[2.0, 0.0, -1.0, 0.5]], np.float32)
    chances = np.log(np.exp(logits) / np.exp(logits).sum())
    task = tasks.of_facts({"input": {"image": [8, 8, 1]}, "labels": list("abcd")})
    split = Split([""] * 4, {}, {"class": in_memory(np.arange(4))})
    for smooth, shares in ((0.2, (0.85, 0.05, 0.05, 0.05)), (0.0, (1, 0, 0, 0))):
        loss = task.objective(Schedule(label_smoothing=smooth), split)(
            logits, {"class": np.eye(4, dtype="float32")[:1]}
        )
        np.testing.assert_allclose(loss, [-(chances * shares).sum()], rtol=1e-5)


def test_class_weights_are_of_the_training_split(tmp_path, monkeypatch):
    planned = job()

    class Asked(Exception):
        """With the split that the loss is for."""

    def objective(self, schedule, split):
        raise Asked(split)

    monkeypatch.setattr(type(planned.task), "objective", objective)
    for start in (dry_run, memorise, lambda planned: run(planned, ModelDir(tmp_path / "digits"))):
        with pytest.raises(Asked) as caught:
            start(planned)
        assert caught.value.args[0] is planned.dataset.splits["train"]


def test_a_plateau_lowers_the_rate_of_the_next_epoch():
    """Three epochs without a lower loss on val, and the rate is a tenth from the fourth on."""
    task, position = tasks.of_facts({"input": {"image": [8, 8, 1]}, "labels": list("ab")}), checkpoint.Position()
    schedule = Schedule(lr=1.0, warmup=0, rate="plateau")
    rates = []
    for epoch, loss in enumerate((3.0, 2.0, 2.0, 2.5, 2.0, 1.9, 1.8), start=1):
        rates.append(optimizers.learning_rate(schedule, epoch, 1, position.plateaus))
        report = types.SimpleNamespace(metrics={"loss": loss, "top1": 0.5})
        engine._ranked(task, report, position, epoch, rates[-1], {"loss": loss})
    assert rates == pytest.approx([1, 1, 1, 1, 1, 0.1, 0.1])


def test_class_weights_by_hand():
    """Six images of one class and two of another count alike in sum."""
    labels = np.array([0] * 6 + [1] * 2)
    weights = classification.class_weights(np.array([6, 2]), "balanced")
    np.testing.assert_allclose(weights, [8 / 12, 8 / 4])
    assert classification.class_weights(np.array([6, 2]), "none") is None
    model = cnn_app.create_model("lenet5", classes=2)
    pixels, one_hot = np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 1)), np.eye(2, dtype="float32")[labels]
    losses = -np.log(np.asarray(keras.ops.softmax(model.predict_on_batch(pixels)))[np.arange(8), labels])
    task = tasks.of_facts({"input": {"image": [32, 32, 1]}, "labels": ["a", "b"]})
    split = Split([""] * 8, {"image": in_memory(pixels)}, {"class": in_memory(labels)})
    for kind, factors in (("balanced", weights[labels]), ("none", 1)):
        stepper = engine.stepper(model, task, split, Schedule(class_weights=kind))
        stepper.train({"image": pixels}, {"class": one_hot}, 0.0)
        logged = stepper.read()[0]["loss"]
        assert logged == pytest.approx((losses * factors).mean(), rel=1e-4)


@pytest.mark.slow
def test_patience_ends_a_run(tmp_path):
    """With a rate of zero nothing gets better after the first epoch; a run that is over stays over."""
    schedule = Schedule(epochs=9, batch=128, lr=0.0, patience=2)
    directory = ModelDir(tmp_path / "digits")
    run(job(schedule), directory)
    assert len(directory.history.read_text().splitlines()) == 1 + 3


SCRIPT = """
import sys
from cnn_app.cli.main import cli
cli(sys.argv[1:])
"""


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_signal_from_outside_saves_and_says_how_to_go_on(tmp_path, number):
    """A real process is signalled once its first epoch is on disk."""
    out = tmp_path / "digits"
    command = [
        sys.executable,
        "-c",
        SCRIPT,
        "train",
        "lenet5",
        "--data",
        "digits",
        "--out",
        str(out),
        "--epochs",
        "100000",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("epoch   2"):
                process.send_signal(number)
                break
        message = process.stderr.read()
        assert process.wait() == 128 + number
    assert "the run is saved" in message and "--resume" in message and "Traceback" not in message
    assert (out / "training" / "state.npz").is_file() and json.loads((out / "card.json").read_text())
