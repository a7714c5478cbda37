"""What once went wrong for somebody who used the commands, and must not again."""

import csv
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import cnn_app
from cnn_app import data as sources
from cnn_app.artifacts import ModelDir
from cnn_app.atomic import write_csv
from cnn_app.cli.main import cli
from cnn_app.errors import ArtifactError, DataError, ModelError
from cnn_app.recipe import Data, Schedule
from cnn_app.transfer.pretrained import published

TRAIN = ("train", "lenet5", "-c", "maps=[2,4,8]", "-c", "units=8", "--data", "digits", "--epochs", "3",
         "--batch", "256", "--out", "m")  # fmt: skip
KILLED = """
import os, signal, sys
from cnn_app.artifacts import ModelDir
from cnn_app.cli.main import cli

ModelDir.write_card = lambda self, card: os.kill(os.getpid(), signal.SIGKILL)
cli()
"""


class Killed(BaseException):
    """No `except` of ours catches it."""


def invoked(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def line(*arguments):
    """The one line on stderr of a command that fails."""
    result = invoked(*arguments)
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1, result.output
    return result.stderr


# --- a kill between model.keras and card.json


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A model directory, and another of the run that is to replace it."""
    folder = tmp_path_factory.mktemp("finished")
    for name, lr in (("m", 1e-3), ("other", 0.02)):
        schedule = Schedule(epochs=3, batch=256, lr=lr)
        cnn_app.train("lenet5", "digits", folder / name, columns={"maps": (2, 4, 8), "units": 8}, schedule=schedule)
    return folder


@pytest.fixture
def store(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(finished, tmp_path / "store"))


def repaired():
    """The directory is refused, and --resume makes of it what the second run would have."""
    for command in (("predict", "m", "x.png"), ("evaluate", "m", "--data", "digits"), ("export", "m", "--to", "onnx"),
                    ("inspect", "m"), ("finetune", "m", "--data", "digits", "--out", "n")):  # fmt: skip
        assert "are of two runs, the second of which was stopped" in line(*command)
    assert "holds a model already; --resume goes on with it" in line(*TRAIN, "--lr", "0.02")
    result = invoked(*TRAIN, "--lr", "0.02", "--resume")
    assert result.exit_code == 0, result.output
    found, wanted = cnn_app.load_model("m"), cnn_app.load_model("other")
    for ours, theirs in zip(found.weights, wanted.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert ModelDir("m").read_card().metrics == ModelDir("other").read_card().metrics
    assert not ModelDir("m").training.exists()


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_resume_repairs_what_a_kill_left_of_two_runs(store, monkeypatch, epoch):
    write, left = ModelDir.write_card, [epoch]

    def killed(self, card):
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        write(self, card)

    with monkeypatch.context() as patched:
        patched.setattr(ModelDir, "write_card", killed)
        with pytest.raises(Killed):
            CliRunner().invoke(cli, [*TRAIN, "--lr", "0.02", "--overwrite"])
    repaired()


@pytest.mark.slow
def test_resume_repairs_what_a_real_kill_left(store):
    command = [sys.executable, "-c", KILLED, *TRAIN, "--lr", "0.02", "--overwrite"]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    with pytest.raises(ArtifactError, match="of two runs"):
        cnn_app.load_model("m")
    repaired()


# --- what is said, and where


def test_the_package_runs_and_its_help_is_light():
    command = [sys.executable, "-X", "importtime", "-m", "cnn_app", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "quickstart" in done.stdout
    loaded = {row.rpartition("|")[2].strip() for row in done.stderr.splitlines()}
    assert "cnn_app.cli.main" in loaded and not loaded & {"tensorflow", "keras", "numpy"}


def test_a_dry_run_is_read_by_people(tmp_path):
    result = invoked(*TRAIN[:-1], tmp_path / "m", "--dry-run")
    assert result.exit_code == 0 and "train 1258, val 270, test 269" in result.output and "32x32x1" in result.output
    assert not set("{}[]") & set(result.output) and not (tmp_path / "m").exists()


@pytest.mark.slow
def test_a_truncated_jpeg_does_not_let_tensorflow_talk(tmp_path):
    rng = np.random.default_rng(0)
    for place in (tmp_path / "data" / split / label for split in ("train", "val") for label in "ab"):
        place.mkdir(parents=True)
        for i in range(4):
            pixels = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{i}.jpg")
    for share, name in ((0.3, "1.jpg"), (0.9, "2.jpg")):
        file = tmp_path / "data" / "train" / "a" / name
        file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    command = [sys.executable, "-m", "cnn_app", "train", "perceptron", "--image", "16", "--data", "data", "--out", "m",
               "--epochs", "1", "--on-bad-image", "skip"]  # fmt: skip
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=quiet)
    told = done.stderr.splitlines()
    assert done.returncode == 0 and len(told) == 2, done.stderr
    assert told[0].startswith("left out 2: train/a/1.jpg: it is damaged or cut off; train/a/2.jpg")
    assert told[1].startswith("epoch   1")


def test_rows_of_answers_may_have_several_lengths(tmp_path):
    write_csv(tmp_path / "x.csv", [{"image": "a", "label1": "cat"}, {"image": "b", "label1": "dog", "label2": "cat"}])
    rows = list(csv.DictReader((tmp_path / "x.csv").read_text().splitlines()))
    assert [row["label2"] for row in rows] == ["", "cat"]


def test_networks_without_published_weights_say_so():
    for name in ("text_cnn_static", "unet", "lenet5"):
        with pytest.raises(ModelError, match=f"no ImageNet weights are known to be published for {name}"):
            published.of(name, {})


# --- TFDS without a network


@pytest.fixture
def downloads(monkeypatch):
    """Calls of the builder's download, which does nothing."""
    tfds = pytest.importorskip("tensorflow_datasets")
    called = []
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", lambda self: called.append(print("talk")))
    monkeypatch.setattr(tfds, "disable_progress_bar", lambda: None)
    return called


def test_without_a_network_tfds_fails_at_once_and_in_one_line(downloads, tmp_path, monkeypatch, capfd):
    import requests

    def head(url, timeout):
        raise requests.ConnectionError(f"{url} cannot be resolved")

    monkeypatch.setattr(requests, "head", head)
    with pytest.raises(DataError) as caught:
        sources.named(Data(source="tfds:mnist", directory=str(tmp_path)))
    assert str(caught.value) == (f"tfds:mnist is neither prepared in {tmp_path} nor could it be downloaded: "
                                 "storage.googleapis.com does not answer")  # fmt: skip
    assert not downloads and not list(tmp_path.iterdir()) and capfd.readouterr() == ("", "")


def test_with_a_network_tfds_downloads_and_what_it_says_is_no_output(downloads, tmp_path, monkeypatch, capfd):
    import requests

    monkeypatch.setattr(requests, "head", lambda url, timeout: None)
    with pytest.raises(DataError, match="mnist"):  # nothing was prepared
        sources.named(Data(source="tfds:mnist", directory=str(tmp_path))).splits["train"]
    assert len(downloads) == 1 and capfd.readouterr().out == ""


# --- names


@pytest.mark.parametrize("command", ["inspect", "features", "finetune"])
def test_an_empty_folder_of_a_networks_name_is_no_model(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    Path("lenet5").mkdir()
    rest = () if command == "inspect" else ("--data", "digits", "--from", "nothing.h5")
    result = invoked(command, "lenet5", *rest, *(("--out", "x") if command == "finetune" else ()))
    assert result.exit_code == 0 if command == "inspect" else "no weights at nothing.h5" in result.output


def test_in_a_notebook(finished):
    model = cnn_app.load_model(finished / "m")
    assert model.about.labels == tuple("0123456789") and model.about.task == "classification"
    model.save(finished / "api.keras")
    with pytest.raises(Exception, match="api.keras is no model directory: it has no card.json") as caught:
        cnn_app.export(finished / "api.keras", ("onnx",))
    assert "\n" not in str(caught.value) and "is a file" not in str(caught.value)
