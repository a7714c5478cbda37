"""One step of the optimizer, on TensorFlow and on JAX: the same losses, and what is read of them when."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import stepping

from cnn_app import heads, registry, tasks
from cnn_app.artifacts import ModelDir
from cnn_app.data.dataset import Split, in_memory
from cnn_app.errors import TrainingError
from cnn_app.recipe import Schedule
from cnn_app.tasks import caption_words
from cnn_app.training import engine
from cnn_app.training.checkpoint import Position
from cnn_app.training.freeze_schedule import FreezeSchedule, Phase
from cnn_app.training.optimizers import optimizer
from cnn_app.training.step import devices
from cnn_app.training.step.base import ITERATION, named

SMALL = {"image": (32, 32, 3), "dropout": 0.0}
FAMILIES = {
    "perceptron": {"image": (8, 8, 1)},
    "neocognitron": {"planes": (4, 4, 4)},
    "lenet5": {},
    "alexnet": {**SMALL, "image": (67, 67, 3), "channels": (8, 8, 8, 8, 8), "units": 16},
    "vgg11": {**SMALL, "width": 0.125, "units": 16},
    "googlenet": {
        **SMALL,
        "modules": (("3a", 8, 8, 8, 4, 4, "max", 4), ("4a", 8, 8, 8, 4, 4, "max", 4)),
        "pooled": ("3a",),
    },
    "resnet20": {"image": (16, 16, 3)},
    "mobilenet_v1": {**SMALL, "width": 0.25, "units": ((1, 64), (2, 128))},
    "mobilenet_v2": {**SMALL, "width": 0.35, "stages": ((1, 16, 1, 1), (6, 24, 2, 2))},
    "shufflenet_v1": {**SMALL, "scale": 0.5},
    "shufflenet_v2": {**SMALL, "scale": 0.5},
    "unet": {"image": (32, 32, 1), "dropout": 0.0, "width": 4, "depth": 2, "padding": "same"},
    "fcn8s": {**SMALL, "width": 0.0625, "units": 16},
    "dilated8": {**SMALL, "width": 0.0625, "units": 16, "padding": "same"},
    "deconvnet": {**SMALL, "width": 0.0625, "units": 16, "padding": "same"},
    "text_cnn": {"dropout": 0.0, "words": 50, "width": 8, "length": 12, "maps": 4},
    "autoencoder": {"channels": (4, 8), "code": 4},
    "tdnn": {"samples": 4000, "maps": (8, 8, 8, 8, 8)},
    "dqn": {"observation": (36, 36, 2), "units": (8,)},
    "window_tagger": {"words": 50, "length": 12, "width": 4, "hidden": 8},
    "captioner": {"image": (16, 16, 3), "channels": (8,)},
    "c3d": {"image": (16, 16, 3), "frames": 4, "dropout": 0.0, "width": 0.125, "units": 16},
}
OTHERS = ("multilabel", "localization")  # tasks that no family is for, with lenet5
RECORDS, SCHEDULE = 8, Schedule(batch=8, augment=())
OPTIONS = {"captioner": {"embedding": 8, "units": 12, "length": 5}}
LABELS = {"perceptron": ("a", "b"), "captioner": (*caption_words.MARKS, "a", "b", "c")}


def example(network, kind=None):
    """A model for the task `kind`, by default its own, with inputs and targets at random, and those of a split."""
    columns, random = FAMILIES[network], np.random.default_rng(0)
    options = {"name": kind} if kind else OPTIONS.get(network, {})
    task = tasks.of_row(registry.spec(network, **columns), options, {})
    task = replace(task, labels=LABELS.get(network, ("a", "b", "c")))
    model = heads.build(network, columns | task.columns(), task.head)
    inputs = {}
    for name, spec in task.input.specs().items():
        whole = np.issubdtype(spec.dtype, np.integer)
        drawn = (
            random.integers(0, 4, (RECORDS, *spec.shape[1:]))
            if whole
            else random.normal(size=(RECORDS, *spec.shape[1:]))
        )
        inputs[name] = (drawn * (60 if spec.dtype == "uint8" else 1)).astype(spec.dtype)
    classes = np.arange(RECORDS) % len(task.labels)
    corners = random.uniform(0, 0.5, (RECORDS, 2))
    targets = {
        "classification": lambda: {"class": np.eye(len(task.labels), dtype=np.float32)[classes]},
        "multilabel": lambda: {"labels": random.integers(0, 2, (RECORDS, 3)).astype(np.float32)},
        "localization": lambda: {
            "class": classes,
            "box": np.concatenate([corners, corners + 0.4], 1).astype(np.float32),
        },
        "segmentation": lambda: {"mask": random.integers(0, 3, (RECORDS, *model.output_shape[1:3])).astype(np.uint8)},
        "reconstruction": lambda: inputs,
        "tagging": lambda: {"tags": random.integers(-1, 3, (RECORDS, 12)).astype(np.int32)},
        "control": lambda: {"action": classes, "value": random.normal(size=RECORDS).astype(np.float32)},
        "captioning": lambda: {"target": random.integers(1, 5, (RECORDS, task.length)).astype(np.int32)},
    }[task.name]()
    known = {"class": classes} if "class" in targets else targets
    known = {name: array.astype(np.uint8) if name == "labels" else array for name, array in known.items()}
    return model, task, inputs, targets, known


@pytest.fixture(scope="module")
def on_both(tmp_path_factory):
    """Name -> losses on TensorFlow, and on JAX."""
    if importlib.util.find_spec("jax") is None:
        pytest.skip("needs jax")
    folder = tmp_path_factory.mktemp("steps")
    networks = {name: (name, None) for name in FAMILIES} | {kind: ("lenet5", kind) for kind in OTHERS}
    for name, (network, kind) in networks.items():
        stepping.write(folder / name, *example(network, kind))
    folders = [folder / name for name in networks]
    quick = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # to compile
    environment = os.environ | {"KERAS_BACKEND": "jax", "XLA_FLAGS": quick}
    command = [sys.executable, stepping.__file__, *map(str, folders)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(zip(networks, zip(map(stepping.losses, folders), json.loads(done.stdout), strict=True), strict=True))


def test_every_family_is_stepped():
    modules = {registry.family(name).__name__.rpartition(".")[2] for name in FAMILIES}
    assert modules == set(registry.FAMILIES)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FAMILIES, *OTHERS])
def test_five_steps_on_jax_lose_as_much(on_both, name):
    here, there = on_both[name]
    assert here[-1] != here[0]
    np.testing.assert_allclose(here, there, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax")
def test_a_network_is_trained_on_jax(tmp_path):
    command = [
        sys.executable,
        "-m",
        "cnn_app",
        "train",
        "lenet5",
        "--data",
        "digits",
        "--epochs",
        "3",
        "--out",
        "digits",
    ]
    subprocess.run(command, env=os.environ | {"KERAS_BACKEND": "jax"}, cwd=tmp_path, check=True, capture_output=True)
    assert ModelDir(tmp_path / "digits").read_card().metrics["test"]["top1"] > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("backend", ("tensorflow", "jax"))
def test_two_devices_lose_as_much_as_one(backend, tmp_path):
    """Of the same batches, without batch normalization, whose statistics are each device's own in TensorFlow."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"needs {backend}")
    stepping.write(tmp_path / "lenet5", *example("lenet5"))
    command = [sys.executable, str(Path(stepping.__file__).with_name("sharing.py")), str(tmp_path / "lenet5")]
    done = subprocess.run(command, env=os.environ | {"KERAS_BACKEND": backend}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["refused"].startswith("devices 3 were asked for, and there are 2: cpu:0, cpu:1")
    for one, two in told["runs"].values():
        assert one[-1] < one[0]
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


def test_devices_that_there_are_not():
    for asked, text in (("2", "devices 2 were asked for, and there are 1: cpu:0"), ("gpu", "received 'gpu'"),
                        ("0", "received '0'"), ("0,0", "received '0,0'"), ("-1", "received '-1'")):  # fmt: skip
        with pytest.raises(TrainingError, match=text):
            devices.chosen(asked)
    assert devices.chosen(None) == devices.chosen("all") == devices.chosen("1") == ()
    devices.check_batch(6, ("a", "b", "c"))
    with pytest.raises(TrainingError, match="a batch of 8 cannot be divided over 3 devices"):
        devices.check_batch(8, ("a", "b", "c"))


# --- what a step leaves on the device, and by which names


def lenet(times=1):
    """A network with its task, a split of so many batches, and a batch."""
    model, task, inputs, targets, known = example("lenet5")
    images = {"image": in_memory(np.repeat(inputs["image"], times, 0))}
    split = Split([""] * times * RECORDS, images, {"class": in_memory(np.repeat(known["class"], times))})
    return model, task, split, (inputs, targets)


def test_losses_are_read_together_and_in_order():
    model, task, split, batch = lenet()
    run = engine.stepper(model, task, split, SCHEDULE)
    for _ in range(3):
        run.train(*batch, 1e-3)
    told = run.read()
    assert [set(logs) for logs in told] == [{"loss", "top1"}] * 3 and run.read() == []
    assert told[0]["loss"] > told[1]["loss"] > told[2]["loss"]


def test_a_loop_asks_the_device_every_few_steps_alone(monkeypatch):
    """23 steps an epoch: after 16, and at the end."""
    model, task, split, _ = lenet(23)
    run, position, asked = engine.stepper(model, task, split, SCHEDULE), Position(), []
    monkeypatch.setattr(run, "read", lambda read=run.read: asked.append(position.step) or read())
    told = [means for _, means in engine.passed(run, task.stream(model, split, SCHEDULE), SCHEDULE, position)]
    assert asked == [16, 23] and told[:15] == [{}] * 15 and set(told[15]) == {"loss", "top1"}


def test_the_step_whose_loss_is_no_number_is_named(monkeypatch):
    model, task, split, _ = lenet(4)
    run, rates = engine.stepper(model, task, split, SCHEDULE), iter((1e-3, float("nan"), 1e-3, 1e-3))
    train = run.train
    monkeypatch.setattr(run, "train", lambda inputs, targets, rate: train(inputs, targets, next(rates)))
    with pytest.raises(TrainingError, match="the loss is nan at step 3 with"):
        list(engine.passed(run, task.stream(model, split, SCHEDULE), SCHEDULE, Position()))


@pytest.mark.parametrize("network", ("lenet5", "googlenet", "captioner", "c3d"))
def test_names_of_variables_are_of_the_network_and_not_of_the_process(network):
    once, again = (
        named(heads.build(network, FAMILIES[network] | {"classes": 3, "dropout": 0.5}), optimizer(SCHEDULE))
        for _ in range(2)
    )
    assert list(once) == list(again) and any("seed_generator" in name for name in once)
    assert [variable.shape for variable in once.values()] == [variable.shape for variable in again.values()]


def test_layers_that_learn_later_keep_the_slots_of_the_others():
    """A new layer's first step is Adam's first, the rate itself, though it is the optimizer's fourth."""
    freeze, schedule = FreezeSchedule((Phase(0, frozenset({"c1"})), Phase(1))), Schedule(weight_decay=0.0)
    assert freeze.since(0) == {} and freeze.since(1) == {"c1": 1}
    model, task, split, batch = lenet()
    run = engine.stepper(model, task, split, schedule, freeze)
    for _ in range(3):
        run.train(*batch, 0.01)
    before = run.state()
    run = engine.stepper(model, task, split, schedule, freeze, 1, 3)
    run.restore(before)
    kept = run.state()
    for name, array in before.items():
        np.testing.assert_array_equal(kept[name], array)
    new = [name for name in kept if name not in before]
    assert {name.rpartition("_")[0] for name in new} == {"optimizer/c1_kernel", "optimizer/c1_bias"} and len(new) == 4
    assert kept[ITERATION] == 3 and not any(kept[name].any() for name in new)
    run.train(*batch, 0.01)
    moved = np.abs(run.state()["model/c1/kernel"] - kept["model/c1/kernel"])
    assert np.quantile(moved, (0.1, 0.9)) == pytest.approx(0.01, rel=1e-2)
