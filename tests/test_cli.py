"""The commands as a user meets them: help, the way from images to answers, and one-line errors."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cnn_app import registry
from cnn_app.cli.main import COMMANDS, cli

COLOURS = {"blue": (20, 40, 220), "green": (30, 200, 60), "red": (210, 30, 40)}


def call(*arguments, code=0, stdin=None):
    """What a command prints on stdout; anything but `code` or an unexpected exception fails the test."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def error(*arguments):
    """The one line on stderr of a user's error."""
    lines = [line for line in call(*arguments, code=1).splitlines() if not line.startswith("epoch ")]
    assert len(lines) == 1 and lines[0].startswith("Error: "), lines
    return lines[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three classes of plain colours with noise, JPEG, PNG and BMP of several sizes."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for label, colour in COLOURS.items():
        (root / label).mkdir()
        for i in range(40):
            pixels = np.clip(rng.normal(colour, 25, (20 + i % 7, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / label / f"{i:03d}.{('jpg', 'png', 'bmp')[i % 3]}")
    return root


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """The main job: train on the folder, export everything."""
    out = tmp_path_factory.mktemp("store") / "colours"
    printed = call("train", "resnet20", "-c", "depths=[1,1,1]", "--image", "16", "--data", folder, "--out", out,
                   "--epochs", 6, "--batch", 16, "--lr", 0.01, "--json")  # fmt: skip
    assert json.loads(printed)["test"]["top1"] == 1.0
    results = json.loads(call("export", out, "--to", "saved_model,tflite-float32,tflite-int8,onnx", "--json"))
    assert [result["agreement"] for result in results] == [1, 1, 1, 1]
    return out


ARTIFACTS = [
    "",
    "model.keras",
    "serving/1",
    "mobile/colours-float32.tflite",
    "mobile/colours-int8.tflite",
    "onnx/colours.onnx",
]


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_predict_gives_the_same_labels_from_every_format(trained, folder, artifact):
    image = folder / "green" / "001.png"
    answers = json.loads(call("predict", trained / artifact, image, "--json"))
    assert answers[0]["image"] == str(image) and answers[0]["top"][0]["label"] == "green"
    assert {row["label"] for row in answers[0]["top"]} == set(COLOURS)
    piped = json.loads(call("predict", trained / artifact, "-", "--json", stdin=image.read_bytes()))
    assert piped[0]["top"] == answers[0]["top"] and piped[0]["image"] == "-"


def test_predict_answers_what_it_can_and_names_the_rest(trained, folder, tmp_path):
    """On the screen and in the file that a program reads; what goes wrong is told at its place and by the status."""
    (tmp_path / "bad.png").write_bytes(b"this is no image")
    places = [folder / "red" / "000.jpg", tmp_path / "bad.png", tmp_path / "none.png", folder / "blue" / "001.png"]
    predict = ["predict", trained, *places]
    for out in (tmp_path / "answers.csv", tmp_path / "answers.jsonl"):
        result = CliRunner().invoke(cli, [str(argument) for argument in (*predict, "--out", out)])
        assert result.exit_code == 1
        assert [line.split(" ")[:2] for line in result.stdout.splitlines()] == [
            [f"{places[0]}:", "red"], [f"{places[3]}:", "blue"]
        ]  # fmt: skip
        assert result.stderr.splitlines() == [
            f"Error: cannot read {places[1]}: it is no JPEG, PNG, WebP, BMP or GIF",
            f"Error: cannot read {places[2]}: No such file or directory",
        ]
    rows = list(csv.DictReader((tmp_path / "answers.csv").read_text().splitlines()))
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [row["image"] for row in rows] == [line["image"] for line in lines] == [str(places[0]), str(places[3])]
    assert [row["label1"] for row in rows] == ["red", "blue"]
    assert [float(row["probability1"]) for row in rows] == [line["top"][0]["probability"] for line in lines]
    assert {rows[0][f"label{place}"] for place in (1, 2, 3)} == set(COLOURS) and len(lines[0]["top"]) == 3
    call("predict", trained, places[1], "--out", tmp_path / "nothing.csv", code=1)
    assert (tmp_path / "nothing.csv").read_text() == ""


def test_where_answers_cannot_be_written_is_told_before_any_is_given(trained, folder, tmp_path):
    predict = ("predict", trained, folder / "red" / "000.jpg", "--out")
    assert "--out ends in .csv or .jsonl or .parquet, received answers.txt" in call(*predict, "answers.txt", code=2)
    result = CliRunner().invoke(cli, [*map(str, predict), str(trained / "card.json" / "answers.csv")])
    assert result.exit_code == 1 and result.stdout == "" and "card.json is no folder" in result.stderr


def test_a_tilde_is_a_home_also_behind_an_equals_sign(trained, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(trained.parent))
    assert f"{trained} holds a model already" in error("train", "lenet5", "--data", "digits", f"--out=~/{trained.name}")
    monkeypatch.setenv("HOME", str(tmp_path))
    call("predict", trained, folder / "red" / "000.jpg", "--out=~/answers.csv")
    assert (tmp_path / "answers.csv").is_file()


def test_predict_takes_a_folder(trained, folder):
    lines = call("predict", trained, folder / "red", "--top", 1).splitlines()
    assert len(lines) == 40 and all(line.split(": ")[1].startswith("red ") for line in lines)


@pytest.mark.slow
def test_evaluate_reports_figures_and_draws_the_confusion_matrix(trained, folder, tmp_path):
    report = json.loads(call("evaluate", trained, "--data", folder, "--confusion", tmp_path / "c.png", "--json"))
    assert (
        report["top1"] == 1.0
        and report["n"] == sum(map(sum, report["confusion"]))
        and set(report["per_class"]) == set(COLOURS)
    )
    with Image.open(tmp_path / "c.png") as drawn:
        assert drawn.format == "PNG" and min(drawn.size) > 200
    several = json.loads(call("evaluate", trained, trained / "onnx" / "colours.onnx", "--data", folder, "--json"))
    assert [row["top1"] for row in several["models"]] == [1.0, 1.0] and several["top1"] == 1.0
    nowhere = ("evaluate", trained, "--data", "nowhere", "--confusion", tmp_path / "c.png" / "c.png")
    assert "c.png is no folder; choose another place" in error(*nowhere)  # before the data are looked for
    assert "ensemble" in call("evaluate", trained, trained / "model.keras", "--data", folder, "--tta", "flip,crop")
    assert "recall" in call("evaluate", trained, "--data", folder)


@pytest.mark.slow
def test_finetune_reaches_another_class_list(trained, tmp_path):
    out = tmp_path / "shapes"
    printed = call(
        "finetune", trained, "--data", "shapes", "--out", out, "--epochs", 1, "--freeze", "backbone", "--json"
    )
    assert json.loads(printed)["test"]["n"] > 0
    assert json.loads((out / "card.json").read_text())["labels"] == ["circle", "cross", "square", "star", "triangle"]


@pytest.mark.slow
def test_dry_run_and_overfit_batch_write_nothing(folder, tmp_path):
    common = ("train", "lenet5", "--data", folder, "--out", tmp_path / "out")
    assert json.loads(call(*common, "--dry-run", "--json"))["classes"] == 3
    assert "memorised 32 images in 200 steps" in call(*common, "--overfit-batch", "--lr", 0.003)
    assert not (tmp_path / "out").exists()


RECIPE = """
name = "tiny"
[model]
name = "lenet5"
[data]
source = "digits"
[schedule]
epochs = 2
lr = 0.003
[export]
targets = ["onnx"]
[acceptance]
top1 = {top1}
"""


def test_run_carries_a_recipe_out_and_holds_it_to_its_acceptance(tmp_path):
    (tmp_path / "good.toml").write_text(RECIPE.format(top1=0.3))
    printed = call("run", tmp_path / "good.toml", "--store", tmp_path / "store")
    assert "onnx" in printed and (tmp_path / "store" / "tiny" / "onnx" / "tiny.onnx").is_file()
    unread, _, wanted = RECIPE.format(top1=1.0).replace("epochs = 2", "epochs = 1").partition("[export]")
    (tmp_path / "bad.toml").write_text(unread + wanted[wanted.index("[acceptance]") :])
    assert "asks for 1.0" in call("run", tmp_path / "bad.toml", "--store", tmp_path / "other", code=1)


def test_a_recipe_may_go_on_from_other_weights(trained, folder, tmp_path):
    """What it starts as is epoch 0; both are on the card."""
    text = RECIPE.format(top1=0.1).replace('lenet5"', 'resnet20"\ndepths = [1, 1, 1]\nimage = [16, 16, 3]')
    text = text.replace("digits", str(folder))
    (tmp_path / "go-on.toml").write_text(text + f"[transfer]\nweights = {str(trained)!r}\nfreeze = 'stage1'\n")
    call("run", tmp_path / "go-on.toml", "--store", tmp_path)
    card = json.loads((tmp_path / "tiny" / "card.json").read_text())
    assert card["recipe"]["transfer"] == {
        "weights": str(trained), "recipe": "probe-then-tune", "freeze": "stage1", "unfreeze_at": [],
        "layer_decay": 0.85, "train_batch_norm": False,
    }  # fmt: skip
    assert (tmp_path / "tiny" / "history.csv").read_text().splitlines()[1].startswith("0,0,0.0,")
    (tmp_path / "typo.toml").write_text(text + "[transfer]\nfreeeze = 'stage1'\n")
    assert "no key of [transfer] named 'freeeze'" in error("run", tmp_path / "typo.toml", "--store", tmp_path)


def test_models_lists_what_can_be_built():
    rows = json.loads(call("models", "resnet*", "--json"))
    assert {"resnet20", "resnet50"} <= {row["name"] for row in rows} and all(row["paper"] for row in rows)
    resnet50 = next(row for row in rows if row["name"] == "resnet50")
    assert (resnet50["parameters"], resnet50["macs"]) == (25_557_032, 3_857_973_248)
    assert "mobilenet_v2" in call("models")
    assert "resnet50" in error("models", "resnet5")


def test_models_knows_its_tasks():
    assert f"no task named 'foo'; known: {', '.join(registry.tasks())}" in error("models", "--task", "foo")
    assert "no model for classification named 'resnet5'" in error("models", "resnet5", "--task", "classification")
    assert "lenet5" in call("models", "le*", "--task", "classification")


def test_a_folder_without_a_model_hides_no_network(tmp_path, monkeypatch, folder):
    """What is there and is no network's name is still told to be no model."""
    monkeypatch.chdir(tmp_path)
    for name in ("lenet5", "empty"):
        (tmp_path / name).mkdir()
    macs = json.loads(call("inspect", "lenet5", "--json"))["total"]["macs"]
    assert macs == 416_520 and "no model at empty" in error("inspect", "empty")
    told = "no ImageNet weights are known to be published for lenet5"
    assert told in error("features", "lenet5", "--data", folder) and "no model at empty" in error(
        "features", "empty", "--data", folder
    )
    assert told in error("finetune", "lenet5", "--data", "digits", "--out", "out")
    assert "no model at empty" in error("finetune", "empty", "--data", "digits", "--out", "out")
    (tmp_path / "lenet5" / "card.json").write_text("{}")
    assert "is no card of a model" in error("finetune", "lenet5", "--data", "digits", "--out", "out")
    assert "no model at lenet5" in error("inspect", "lenet5")


def test_a_model_is_a_file_or_a_folder_that_holds_one(tmp_path):
    from cnn_app.artifacts import is_model

    (tmp_path / "lenet5").write_text("")
    (tmp_path / "x.keras").write_text("")
    assert is_model(tmp_path / "x.keras") and not is_model(tmp_path / "lenet5") and not is_model(tmp_path)
    for name in ("card.json", "model.keras", "saved_model.pb"):
        (tmp_path / name[:3]).mkdir()
        assert not is_model(tmp_path / name[:3])
        (tmp_path / name[:3] / name).write_text("")
        assert is_model(tmp_path / name[:3])


def test_tables_into_a_pipe_are_as_wide_as_columns_says(monkeypatch):
    widths = {}
    for columns in ("", "90", "0", "wide"):
        monkeypatch.setenv("COLUMNS", columns)
        widths[columns] = max(map(len, call("models").splitlines()))
    assert widths["90"] == 90 < widths[""] == widths["0"] == widths["wide"] <= 160


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "cnn_app", "models", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("Usage: python -m cnn_app models")


SCRIPT = """#!{python}
import sys
from cnn_app.cli.main import cli

try:
    cli()
finally:
    heavy = {{"tensorflow", "keras", "numpy"}} & set(sys.modules)
    print(sorted(heavy), file=open({log!r}, "a"))
"""


def test_bash_completes(tmp_path):
    """With the line of docs/command_line.md, as bash does it, and without TensorFlow."""
    documented = (Path(__file__).parents[1] / "docs" / "command_line.md").read_text()
    line = 'eval "$(_CNN_APP_COMPLETE=bash_source cnn-app)"'
    documented_lines = {"zsh": line.replace("bash", "zsh"), "fish": "_CNN_APP_COMPLETE=fish_source cnn-app | source"}
    assert line in documented
    script, log = tmp_path / "cnn-app", tmp_path / "log"
    script.write_text(SCRIPT.format(python=sys.executable, log=str(log)))
    script.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def complete(*words):
        typed = f"COMP_WORDS=(cnn-app {' '.join(words)}); COMP_CWORD={len(words)}"
        code = f'{line}; complete -p cnn-app; {typed}; _cnn_app_completion cnn-app; printf "%s\n" "${{COMPREPLY[@]}}"'
        done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, env=environment, check=True)
        registered, *found = done.stdout.splitlines()
        assert "_cnn_app_completion" in registered and not done.stderr
        return found

    assert complete("ins") == ["inspect"]
    assert complete("inspect", "--la") == ["--layers"]
    assert complete("train", "--optimizer", "''") == ["adamw", "sgd", "sgd-l2", "rmsprop", "lamb", "muon"]
    assert complete("serving", "pu") == ["publish"]
    assert set(log.read_text().splitlines()) == {"[]"}
    for shell in ("zsh", "fish"):
        assert documented_lines[shell] in documented
        given = environment | {"_CNN_APP_COMPLETE": f"{shell}_source"}
        printed = subprocess.run([script], capture_output=True, text=True, env=given, check=True).stdout
        assert f"_CNN_APP_COMPLETE={shell}_complete" in printed and "cnn-app" in printed


def test_models_filters_by_cost():
    small = {row["name"] for row in json.loads(call("models", "--max-parameters", 3, "--max-macs", 200, "--json"))}
    assert {"shufflenet_v1", "resnet20"} <= small and "mobilenet_v2" not in small
    assert "none of the" in error("models", "vgg*", "--max-macs", 100)


def test_every_variant_has_figures():
    from cnn_app import registry
    from cnn_app.architectures.reference import REFERENCE

    assert set(REFERENCE) == set(registry.names())


def break_image(folder, tmp_path, content, name="999.jpg"):
    """A copy of the folder with one bad file."""
    import shutil

    copy = tmp_path / "images"
    shutil.copytree(folder, copy)
    (copy / "red" / name).write_bytes(content)
    return copy


BAD = {
    "text": b"this is no image",
    "empty": b"",
    "one pixel": lambda: encoded(Image.new("RGB", (1, 1))),
    "huge": lambda: encoded(Image.new("1", (20_000, 20_000)), "PNG"),
    "truncated": lambda: encoded(Image.effect_noise((64, 64), 90))[:900],
}


def encoded(image, kind="JPEG"):
    import io

    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_image_is_named_or_skipped(folder, tmp_path, kind, trained):
    content = BAD[kind]() if callable(BAD[kind]) else BAD[kind]
    copy = break_image(folder, tmp_path, content)
    arguments = ("train", "lenet5", "--data", copy, "--out", tmp_path / "out", "--epochs", 1)
    assert "red/999.jpg" in error(*arguments) and not (tmp_path / "out").exists()
    result = CliRunner().invoke(cli, [str(a) for a in (*arguments, "--on-bad-image", "skip")])
    assert result.exit_code == 0 and "left out 1: red/999.jpg" in result.stderr
    assert "999.jpg" in error("predict", trained, copy / "red" / "999.jpg")


def test_errors_are_one_line_and_leave_nothing(trained, folder, tmp_path):
    train = ("train", "--data", folder, "--out", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    (tmp_path / "one" / "cats").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "one" / "cats" / "a.png")
    (tmp_path / "file").write_text("")
    (tmp_path / "typo.toml").write_text(RECIPE.format(top1=0).replace("epochs", "epochz"))
    for text, arguments in {
        "did you mean": (*train, "resnet5"),
        "no column of lenet5": (*train, "lenet5", "-c", "width=2"),
        "width is a number, received 'abc'": (*train, "mobilenet_v2", "-c", "width=abc"),
        "even_branches is true or false, received 'False'": (*train, "shufflenet_v2", "-c", "even_branches=False"),
        "classes follows from the data, which give 3; leave out classes=5": (*train, "lenet5", "-c", "classes=5"),
        "no option of the task classification named 'loss'": (*train, "lenet5", "-t", "loss=dice"),
        "at least 32x32": (*train, "lenet5", "--image", "16x16x1"),
        "no classes with images in it": ("train", "lenet5", "--data", tmp_path / "empty", "--out", tmp_path / "out"),
        "one class only": ("train", "lenet5", "--data", tmp_path / "one", "--out", tmp_path / "out"),
        "no data at": ("train", "lenet5", "--data", "nowhere", "--out", tmp_path / "out"),
        "cannot write": ("train", "lenet5", "--data", "digits", "--epochs", 1, "--out", tmp_path / "file" / "out"),
        "other classes than the model": ("evaluate", trained, "--data", "digits"),
        "no model directory": ("export", tmp_path / "empty", "--to", "onnx"),
        "epochz": ("run", tmp_path / "typo.toml"),
        "tfds:nothing": ("train", "lenet5", "--data", "tfds:nothing", "--data-dir", tmp_path, "--out", "out"),
    }.items():  # fmt: skip
        assert text in error(*arguments), arguments
    assert not (tmp_path / "out").exists()


EARLY = """
import sys
from cnn_app.cli.main import cli
try:
    cli(sys.argv[1:])
finally:
    print(sorted({"keras", "tensorflow"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "told, arguments",
    [
        ("did you mean", ("train", "resnet5", "--data", "digits", "--out", "new")),
        ("did you mean", ("finetune", "resnet5", "--data", "digits", "--out", "new")),
        ("did you mean", ("inspect", "resnet5")),
        ("store holds a model already", ("train", "lenet5", "--data", "digits", "--out", "store")),
        ("store holds a model already", ("finetune", "store", "--data", "digits", "--out", "store")),
        ("card.json is no folder", ("train", "lenet5", "--data", "digits", "--out", "store/card.json/new")),
        ("cannot write locked", ("train", "lenet5", "--data", "digits", "--out", "locked")),
        ("quickstart holds a model already", ("quickstart", "--store", ".")),
        ("no key of [schedule] named 'epochz'", ("run", "typo.toml")),
    ],
)
def test_what_a_command_can_know_at_once_it_tells_before_tensorflow_is_there(tmp_path, told, arguments):
    for name in ("store", "quickstart", "locked"):
        (tmp_path / name).mkdir()
    for name in ("store", "quickstart"):
        (tmp_path / name / "card.json").write_text("{}")
    (tmp_path / "typo.toml").write_text(RECIPE.format(top1=0).replace("epochs", "epochz"))
    (tmp_path / "locked").chmod(0o500)
    if "locked" in arguments and os.access(tmp_path / "locked", os.W_OK):
        pytest.skip("this user may write everywhere")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", EARLY, *arguments], capture_output=True, text=True, cwd=tmp_path,
                          env=environment)  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "[]\n")
    assert told in done.stderr and len(done.stderr.splitlines()) == 1


def test_wrong_usage_exits_with_two():
    for arguments in (("train", "lenet5"), ("train", "--learning", "1"), ("export", ".", "--to", "core-ml"), ("fly",)):
        call(*arguments, code=2)


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS), ("data", "check")], ids=" ".join)
def test_help_is_there_and_light(command):
    """Help says something of every option, and does not import TensorFlow."""
    code = f"import sys; from cnn_app.cli.main import cli; cli({[*command, '--help']!r}, standalone_mode=False); "
    code += "print(sorted({'keras', 'tensorflow', 'numpy', 'rich'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.endswith("[]\n") and "Usage:" in printed


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
from cnn_app.cli.main import cli
cli(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", ["saved_model", "tflite-float32", pytest.param("onnx", marks=pytest.mark.slow), None]
)
def test_a_full_disk_is_one_line_and_leaves_nothing(trained, tmp_path, target):
    """No file may grow beyond 60 kB, which the operating system tells like a full disk."""
    store = tmp_path / "store"
    command = ("train", "lenet5", "--data", "digits", "--epochs", "1", "--out", str(store))
    if target:
        store.mkdir()
        for name in ("model.keras", "card.json"):
            (store / name).write_bytes((trained / name).read_bytes())
        command = ("export", str(store), "--to", target)
    before = sorted(store.rglob("*"))
    done = subprocess.run([sys.executable, "-c", LIMITED, *command], capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("epoch")]
    assert done.returncode == 1 and len(lines) == 1 and "cannot write" in lines[0] and "File too large" in lines[0]
    assert sorted(store.rglob("*")) == before
