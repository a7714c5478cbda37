"""Writes the archive of what release 0.1.0 left on disk: `python generate.py`, with release 0.1.0 on the path.

Everything goes beside this file; README.md says what it is. It is kept to show how the archive was made: a later
version opens the archive, it does not make it again. The keys of the catalogue are thrown away.
"""

import csv
import hashlib
import json
import os
import platform
import shutil
import signal
import tempfile
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image

import cnn_app
from cnn_app import data as sources
from cnn_app import layers as ours
from cnn_app import recipe as recipes
from cnn_app.architectures.lenet import C3_TABLE
from cnn_app.artifacts import Card, ModelDir
from cnn_app.atomic import write_json
from cnn_app.cli.main import cli
from cnn_app.delivery import catalogue, exported
from cnn_app.delivery.entry import Entry
from cnn_app.delivery.keys import Keys
from cnn_app.evaluation import data_for
from cnn_app.export.run import pixels_of
from cnn_app.export.targets import TARGETS
from cnn_app.recipe import Data, Schedule
from cnn_app.runtimes import keras_model, labels_of, open_model
from cnn_app.training import engine
from cnn_app.training.run import plan, run

MODEL, PAIR, LAYERS, PICTURE = Path("store/shapes"), Path("store/pair"), Path("store/layers.keras"), Path("picture.png")
SIDE, COLOURS = 32, ("red", "green", "blue")
TRAIN = [  # three layers of ours, columns of several types
    "train", "resnet20", "-c", "depths=[1,1,1]", "-c", "stem=8", "-c", "groups=2", "-c", "group_width=4",
    "-c", "se_reduction=4", "--image", str(SIDE), "--data", "shapes", "--out", MODEL, "--epochs", "25", "--lr", "0.01",
    "--augment", "flip",
]  # fmt: skip
ABOUT = ["--author", "the authors of cnn-app", "--license", "Apache-2.0", "--version", "1.0.0"]
RESUME = [
    "train", "lenet5", "-c", "maps=[4,8,16]", "-c", "units=16", "-c", "dropout=0.2", "--data", "digits",
    "--out", "digits", "--epochs", "4", "--batch", "128", "--lr", "0.01", "--augment", "flip,crop", "--seed", "5",
    "--resume",
]  # fmt: skip
RESUMED = {"maps": (4, 8, 16), "units": 16, "dropout": 0.2}  # RESUME in Python
SCHEDULE = Schedule(epochs=4, batch=128, lr=0.01, augment=("flip", "crop"), seed=5)
STOPPED = 14  # the fifth step of the second epoch
SIGNED = datetime(2100, 1, 1, tzinfo=UTC)  # the catalogue expires 30 days later, so tests need no other clock


def main():
    assert cnn_app.__version__ == "0.1.0", "put release 0.1.0 on the path"
    os.chdir(Path(__file__).parent)
    assert not Path("store").exists(), "the archive is there already"
    model()
    pair()
    layers()
    resume()
    delivery()
    recipe_files()
    answers()


def model():
    """A model directory with every target."""
    command(*TRAIN)
    command("export", MODEL, "--to", ",".join(TARGETS), "--max-drop", 100, *ABOUT)


def pair():
    """A TF Serving base path with two versions and a label, of a classifier of colours."""
    with tempfile.TemporaryDirectory() as folder:
        for version in (1, 2):
            source = Path(folder) / str(version)
            write_colours(source, version)
            command("serving", "publish", source, PAIR / "serving")
    command("serving", "label", PAIR / "serving", "stable=1")
    ModelDir(PAIR).write_card(Card(architecture="lenet5", columns={}, labels=COLOURS, image=(SIDE, SIDE, 3)))


def write_colours(path, version):
    module = tf.Module()
    module.sharpness = tf.Variable(float(version))

    @tf.function(input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.uint8, name="image")])
    def serve(image):
        colour = tf.reduce_mean(tf.cast(image, tf.float32), (1, 2))
        return {"probabilities": tf.nn.softmax(colour * module.sharpness / 64)}

    module.serve = serve
    tf.saved_model.save(module, str(path), signatures={"serving_default": serve})


def layers():
    """Every layer of ours that a network has, in one file."""
    image = keras.Input((SIDE, SIDE, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, -1.0, name="rescale")(image)
    x = keras.layers.Conv2D(6, 3, strides=4, padding="same", name="stem")(x)
    x = ours.FusedBatchNormalization(name="normalize")(x)
    x = ours.LocalResponseNormalization(5, alpha=0.1, name="lrn")(x)
    x = ours.TableConv2D(C3_TABLE, 3, activation="tanh", name="table")(x)
    x = ours.ChannelScale(name="scale")(x)
    x = ours.GroupedConv2D(16, 3, groups=4, dilation=2, use_bias=True, name="grouped")(x)
    x = ours.ChannelShuffle(4, name="shuffle")(x)
    left, right = ours.ChannelSplit(2, name="split")(x)
    left = ours.PadShortcut(12, 2, before=2, name="pad")(left)
    right = keras.layers.AveragePooling2D(2, name="pool")(right)
    x = ours.JoinChannels(last_first=True, name="join")([left, right])
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    network = keras.Model(image, keras.layers.Dense(5, name="logits")(x), name="layers")
    rng = np.random.default_rng(0)
    for weight in network.weights:
        values = rng.normal(0, 0.5, weight.shape)
        weight.assign(1 + abs(values) if weight.name == "moving_variance" else values)
    keras_model.save(network, LAYERS)


def resume():
    """A run that was stopped in the middle of an epoch, and what it becomes."""
    job = plan("lenet5", RESUMED, Data(source="digits"), SCHEDULE)

    def stop(epoch, done, steps, logs):
        if epoch * steps + done == STOPPED:
            os.kill(os.getpid(), signal.SIGINT)

    with suppress(engine.Stopped):
        run(job, ModelDir("resume/digits"), watch=engine.Watch(step=stop))
    write_json("resume/command.json", {"arguments": RESUME, "stopped_after_step": STOPPED})
    before, archive = Path.cwd(), Path("resume").resolve()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree("resume/digits", Path(folder) / "digits")
        os.chdir(folder)
        command(*RESUME)
        finished = ModelDir("digits")
        weights = cnn_app.load_model(finished.path).weights
        arrays = {weight.path: np.asarray(weight) for weight in weights}
        expected = {
            "weights": [{"path": path, "shape": array.shape, "dtype": str(array.dtype),
                         "sha256": hashlib.sha256(array.tobytes()).hexdigest()} for path, array in arrays.items()],
            "history": list(csv.DictReader(finished.history.read_text().splitlines())),
            "metrics": finished.read_card().metrics,
            "versions": finished.read_card().versions,
            "machine": machine(),
        }  # fmt: skip
        write_json(archive / "expected.json", expected)
        np.savez_compressed(archive / "expected.npz", **arrays)
        os.chdir(before)


def machine():
    """What decides the last bits of a sum."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next(line.split(":")[1].split() for line in lines if line.startswith("flags"))
    wide = [flag for flag in flags if flag.startswith(("avx", "amx", "fma"))]
    return {"processor": platform.machine(), "vectors": wide, "threads": len(os.sched_getaffinity(0))}


def delivery():
    """A catalogue with a newer version that was withdrawn, one in beta and a second root; and the client of an app."""
    file = exported.read(MODEL / "mobile" / "shapes-int8.tflite")
    about = {"name": file.name, "kind": file.kind, "min_runtime": file.min_runtime}
    place = Path("catalogue")
    with tempfile.TemporaryDirectory() as folder:
        keys = Keys(Path(folder))
        catalogue.create(place, keys, SIGNED)
        catalogue.add(place, file, Entry(version="1.0.0", **about), keys, SIGNED)
        catalogue.add(place, file, Entry(version="1.1.0", min_app="2.0", **about), keys, SIGNED)
        catalogue.rollback(place, file.name, None, "stable", keys, SIGNED)
        catalogue.add(place, file, Entry(version="2.0.0b1", channel="beta", device="npu", **about), keys, SIGNED)
        catalogue.rotate(place, "timestamp", keys, SIGNED)
    root, out = place / "metadata" / "1.root.json", Path("client/shapes.tflite")
    fetched = json.loads(command("fetch", place, file.name, "--root", root, "--out", out, "--json"))
    listed = json.loads(command("deliver", "list", place, "--json"))
    write_json("catalogue.json", {"signed": SIGNED.isoformat(), "list": listed, "fetch": fetched})


def recipe_files():
    """The recipes that came with the release, and what was read in them."""
    shutil.copytree(recipes.shipped("quickstart").parent, "recipes")
    found = {path.name: asdict(recipes.read(path)) for path in sorted(Path("recipes").glob("*.toml"))}
    write_json("recipes/read.json", found)


def answers():
    """What every file says to the same eight pictures, and what the commands print."""
    test = data_for(ModelDir(MODEL), None).splits["test"]
    pictures = pixels_of(test.take(np.arange(8, 16)))  # not the golden ones, which are the first
    Image.fromarray(sources.load(Data(source="shapes")).splits["test"].array[0]).save(PICTURE)
    exports = [MODEL / line["path"] for line in ModelDir(MODEL).read_exports()]
    files = [MODEL, *exports, PAIR / "serving/1", PAIR / "serving/2", LAYERS]
    found = {str(file): open_model(file).predict(pictures) for file in files}
    np.savez_compressed("answers.npz", pictures=pictures, **found)
    printed = {
        "labels": {name: labels_of(name, scores.shape[1]) for name, scores in found.items()},
        "evaluate": json.loads(command("evaluate", MODEL, "--data", "shapes", "--json")),
        "predict": {str(file): json.loads(command("predict", file, PICTURE, "--json")) for file in files},
        "verify": json.loads(command("verify", *exports, "--json")),
        "machine": machine(),
    }
    write_json("answers.json", printed)


def command(*arguments):
    """What a command of `cnn-app` prints."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


if __name__ == "__main__":
    main()
