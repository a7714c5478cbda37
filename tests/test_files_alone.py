"""A file holds what is needed to answer: it does so alone, whatever becomes of the directory it came from."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

import cnn_app
from cnn_app import data as sources
from cnn_app.artifacts import ModelDir
from cnn_app.cli.main import cli
from cnn_app.delivery import exported
from cnn_app.errors import DeliveryError
from cnn_app.export import golden
from cnn_app.recipe import Export, Schedule

ANIMALS, NUMBERS = ("ant", "bee", "cat", "dog", "eel"), ("one", "two", "three", "four", "five")
FILES = {"tflite": "mobile/model-float32.tflite", "onnx": "onnx/model.onnx", "saved_model": "serving/1"}
CLASSES = np.arange(120) % 5
IMAGES = (CLASSES[:, None, None, None] * 50 + np.random.default_rng(0).integers(0, 20, (120, 32, 32, 1))).astype(
    "uint8"
)


def train(path, labels, **options):
    data = sources.arrays({"train": (IMAGES, CLASSES)}, labels)
    cnn_app.train("lenet5", data, path, schedule=Schedule(epochs=2, batch=16, lr=0.003, augment=()), **options)
    return data


@pytest.fixture(scope="module")
def animals(tmp_path_factory):
    """A model directory with a file of every format."""
    path = tmp_path_factory.mktemp("store") / "model"
    data = train(path, ANIMALS)
    cnn_app.export(path, Export(targets=("tflite-float32", "onnx", "saved_model")), data)
    return path


@pytest.fixture(params=FILES)
def alone(request, animals, tmp_path):
    """A file in an empty folder, and its place in the model directory."""
    source = animals / FILES[request.param]
    copy = tmp_path / "alone" / source.name
    copy.parent.mkdir()
    shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
    return copy, FILES[request.param]


def answers(path):
    return [found.answer for found in cnn_app.predict(path, IMAGES[:10])]


def line(*arguments):
    """The one line on stderr of a command that fails."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1, result.output
    return result.stderr


def test_a_file_alone_answers_with_its_labels(animals, alone):
    copy, place = alone
    found = answers(copy)
    assert found == answers(animals / place) and {row["label"] for row in found[0]["top"]} == set(ANIMALS)
    best = [answer["top"][0]["label"] for answer in found]
    assert best == [answer["top"][0]["label"] for answer in answers(animals)] and len(set(best)) > 1


def test_a_file_that_was_kept_says_what_it_said_and_is_stale_where_another_model_is(animals, alone, tmp_path):
    copy, place = alone
    store, before = tmp_path / "model", answers(copy)
    shutil.copytree(animals, store)
    train(store, NUMBERS, overwrite=True)
    assert not (store / place).exists() and not ModelDir(store).exports.exists()
    assert answers(copy) == before and set(ModelDir(store).read_card().labels) == set(NUMBERS)
    back = store / place
    back.parent.mkdir(exist_ok=True)
    shutil.copytree(copy, back) if copy.is_dir() else shutil.copy(copy, back)
    if not copy.is_dir():
        shutil.copy(golden.place(animals / place), golden.place(back))
    assert answers(back) == before  # by what is inside, not by the card above it
    assert golden.check(animals / place).passed
    assert f"{back} was exported of a model that was replaced since; export it again" in line("verify", back)
    (check,) = json.loads(CliRunner().invoke(cli, ["verify", str(back), "--json"]).stdout)
    assert (check["stale"], check["untouched"], check["max_difference"], check["passed"]) == (True, True, 0, False)
    if back.suffix == ".tflite":
        with pytest.raises(DeliveryError, match=f"{back} is stale: .*model.keras was replaced since; export it again"):
            exported.read(back)


@pytest.mark.parametrize("file, told", [("variables/variables.data-00000-of-00001", "no"), ("assets/labels.txt", "no"),
                                        ("assets.extra/tf_serving_warmup_requests", "yes")])  # fmt: skip
def test_a_saved_model_is_what_was_exported_or_is_not(animals, tmp_path, file, told):
    """But for what lies beside it, such as the requests that warm it up."""
    copy = shutil.copytree(animals / "serving" / "1", tmp_path / "1")
    assert golden.check(copy).untouched
    if file.endswith(".txt"):
        (copy / file).write_text((copy / file).read_text().replace("bee", "cow"))
    else:
        with (copy / file).open("ab") as stream:
            stream.write(b"\0")
    if told == "yes":
        assert golden.check(copy).passed
        return
    found = CliRunner().invoke(cli, ["verify", str(copy)])
    assert [cell.strip() for cell in found.stdout.splitlines()[-2].split("│")][-3:-1] == ["no", "FAILED"]
    assert "does not answer as it was exported" in line("verify", copy)
