import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cnn_app import heads, recipe, registry
from cnn_app.cli.main import cli
from cnn_app.errors import RecipeError
from cnn_app.jobs import run as jobs
from cnn_app.recipe import Data, Export, Recipe, Schedule, Transferability

SHIPPED = sorted((Path(__file__).parents[1] / "pipelines").glob("*.toml"))
TEXT = """
name = "small"

[model]
name = "lenet5"
filters = [6, [16, 2]]
image = [28, 32, 1]

[data]
source = "digits"

[schedule]
epochs = 3
lr = 1
augment = ["flip", "crop"]

[export]
targets = ["onnx"]
max_drop = 2

[acceptance]
top1 = 0.5
"""


def read(tmp_path, text):
    file = tmp_path / "recipe.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return recipe.read(file)


def refused(tmp_path, text):
    """The message of the error, which names the file and takes one line."""
    with pytest.raises(RecipeError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert str(tmp_path / "recipe.toml") in message and "\n" not in message
    return message


def changed(old, new):
    assert TEXT.count(old) == 1
    return TEXT.replace(old, new)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes(path):
    assert isinstance(recipe.read(path), Recipe)
    assert recipe.shipped()[path.stem] == path
    assert recipe.find(path.stem) == recipe.find(path) == recipe.read(path)
    name, columns = (found := recipe.read(path).model)["name"], {key: found[key] for key in found if key != "name"}
    assert registry.spec(name, **columns).task in heads.HEADS


def test_there_are_shipped_recipes():
    assert "quickstart" in [path.stem for path in SHIPPED]


def test_every_value_arrives(tmp_path):
    found = read(tmp_path, TEXT)
    assert found == Recipe(
        name="small",
        model={"name": "lenet5", "filters": (6, (16, 2)), "image": (28, 32, 1)},
        data=Data(source="digits"),
        schedule=Schedule(epochs=3, lr=1.0, augment=("flip", "crop")),
        export=Export(targets=("onnx",), max_drop=2.0),
        acceptance={"top1": 0.5},
    )
    assert type(found.schedule.lr) is float and type(found.export.max_drop) is float


def test_tables_may_be_left_out(tmp_path):
    found = read(tmp_path, 'name = "n"\nmodel = {name = "lenet5"}\ndata = {source = "shapes"}')
    assert found.schedule == Schedule() and found.export is None and found.acceptance == {} == found.task
    assert found.kind == "model"


def test_options_of_a_task_arrive(tmp_path):
    assert read(tmp_path, TEXT + '[task]\nloss = "dice"\nsides = [1, 2]').task == {"loss": "dice", "sides": (1, 2)}


# Recipes of 0.1.0


def test_the_size_of_images_stood_with_the_data(tmp_path):
    old = changed("image = [28, 32, 1]\n", "").replace("[schedule]", "image = [28, 32, 1]\n\n[schedule]")
    assert read(tmp_path, old) == read(tmp_path, TEXT)
    assert "image" in refused(tmp_path, TEXT.replace("[schedule]", "image = [28, 32, 1]\n\n[schedule]"))  # said twice


def test_a_study_was_told_by_its_table(tmp_path):
    old = 'name = "n"\nmodel = {name = "lenet5"}\ndata = {source = "shapes"}\ntransferability = {seeds = 2}\n'
    found = read(tmp_path, old)
    assert found.kind == "study" and found.transferability == Transferability(seeds=2)
    assert read(tmp_path, f'kind = "study"\n{old}') == found
    assert "has [transferability], and no other has" in refused(tmp_path, f'kind = "model"\n{old}')
    assert "has [transferability], and no other has" in refused(tmp_path, f'kind = "study"\n{TEXT}')


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("[schedule]", "[scedule]", ("scedule", "schedule")),
        ('name = "small"', 'name = "small"\ncolour = 1', ("colour", "acceptance", "about")),
        ("epochs = 3", "epoch = 3", ("epoch", "epochs")),
        ("source =", "sources =", ("sources", "source", "on_bad_image")),
        ("max_drop", "maxdrop", ("maxdrop", "max_drop", "calibration")),
    ],
)
def test_unknown_keys(tmp_path, old, new, words):
    message = refused(tmp_path, changed(old, new))
    assert "no key of" in message and all(word in message for word in words)


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("epochs = 3", 'epochs = "3"', ("epochs", "int", "'3'")),
        ("epochs = 3", "epochs = 3.0", ("epochs", "int", "3.0")),
        ("epochs = 3", "epochs = true", ("epochs", "int", "True")),
        ("lr = 1", 'lr = "high"', ("lr", "float", "'high'")),
        ("lr = 1", "lr = false", ("lr", "float", "False")),
        ('augment = ["flip", "crop"]', 'augment = "flip"', ("augment", "list", "'flip'")),
        ('augment = ["flip", "crop"]', "augment = [1]", ("augment", "str", "1")),
        ("top1 = 0.5", 'top1 = "high"', ("[acceptance] top1", "number", "'high'")),
        ("top1 = 0.5", "top1 = true", ("[acceptance] top1", "number", "True")),
        ("top1 = 0.5", "top1 = nan", ("[acceptance] top1", "number", "nan")),
        ('source = "digits"', "source = 5", ("source", "str", "5")),
        ('name = "small"', "name = 5", ("name", "str", "5")),
        ('name = "small"', 'name = "small"\nabout = ["x"]', ("about", "str")),
        ("[acceptance]\ntop1 = 0.5", "[[acceptance]]\ntop1 = 0.5", ("acceptance", "table")),
    ],
)
def test_wrong_types(tmp_path, old, new, words):
    message = refused(tmp_path, changed(old, new))
    assert all(word in message for word in words)


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("epochs = 3", "epochs = 0", ("epochs", "between 1", "received 0")),
        ("epochs = 3", "batch = -4", ("batch", "received -4")),
        ("lr = 1", "lr = -0.1", ("lr", "received -0.1")),
        ("lr = 1", "lr = nan", ("lr", "received nan")),
        ("lr = 1", "lr = inf", ("lr", "received inf")),
        ("lr = 1", "momentum = 1.1", ("momentum", "between 0 and 1")),
        ("lr = 1", "label_smoothing = 2", ("label_smoothing", "received 2")),
        ("lr = 1", "seed = -1", ("seed", "received -1")),
        ("lr = 1", 'optimizer = "adam"', ("optimizer", "'adam'", "adamw")),
        ("lr = 1", 'rate = "step"', ("rate", "'step'", "cosine")),
        ('["flip", "crop"]', '["flop"]', ("augmentation", "'flop'", "flip")),
        ('source = "digits"', 'source = "digits"\non_bad_image = "ignore"', ("on_bad_image", "'ignore'", "skip")),
        ("max_drop = 2", "max_drop = -1", ("max_drop", "received -1")),
        ("max_drop = 2", "max_drop = nan", ("max_drop", "received nan")),
        ("max_drop = 2", "calibration = 0", ("calibration", "received 0")),
        ("[model]", 'kind = "models"\n[model]', ("kind of recipe", "'models'", "study")),
    ],
)
def test_out_of_range(tmp_path, old, new, words):
    message = refused(tmp_path, changed(old, new))
    assert all(word in message for word in words)


@pytest.mark.parametrize(
    "old, new, words",
    [
        ('name = "small"\n', "", ("the recipe needs name",)),
        ('name = "lenet5"\n', "", ("[model] needs a name", "cnn-app models")),
        ('name = "lenet5"', "name = 5", ("[model] needs a name",)),
        ('source = "digits"\n', "", ("[data] needs source",)),
        ('targets = ["onnx"]\n', "", ("[export] needs targets",)),
    ],
)
def test_missing_keys(tmp_path, old, new, words):
    message = refused(tmp_path, changed(old, new))
    assert all(word in message for word in words)


@pytest.mark.parametrize("name", ["a/b", "/etc", "../up", "..", ".hidden", "", "a/", "a\\u0000b", "a\\nb"])
def test_names_that_make_no_directory(tmp_path, name):
    assert "becomes a directory" in refused(tmp_path, changed('"small"', f'"{name}"'))


@pytest.mark.parametrize("text", ["name = ", "[data", "a = 1\na = 2", b"\xff\xfe", "a = " + "[" * 50_000])
def test_text_that_is_no_toml(tmp_path, text):
    assert "is no TOML" in refused(tmp_path, text)


def test_too_large(tmp_path):
    assert "larger than 1 MiB" in refused(tmp_path, "#" * (recipe.RECIPE_LIMIT_BYTES + 1))


@pytest.mark.parametrize("name, reason", [("absent.toml", "No such file"), (".", "Is a directory")])
def test_a_path_that_is_no_file(tmp_path, name, reason):
    with pytest.raises(RecipeError, match=f"cannot read .*{reason}"):
        recipe.read(tmp_path / name)


@pytest.mark.parametrize(
    "name, message",
    [
        ("absent.toml", "no recipe at absent.toml; `cnn-app run --list` names"),
        ("quickstrat", "no recipe named 'quickstrat'; did you mean quickstart"),
    ],
)
def test_a_recipe_that_is_not_there(name, message):
    with pytest.raises(RecipeError, match=message):
        recipe.find(name)


# The command


def call(*arguments):
    return CliRunner().invoke(cli, ["run", *map(str, arguments)], catch_exceptions=False)


def test_shipped_recipes_are_listed():
    rows = json.loads(call("--list", "--json").stdout)
    assert {row["recipe"] for row in rows} == {path.stem for path in SHIPPED}
    assert all(row["about"] and Path(row["file"]).is_file() for row in rows)
    assert all(path.stem in call("--list").stdout for path in SHIPPED)
    nothing = call()
    assert nothing.exit_code == 2 and "--list" in nothing.stderr


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("top1 = 0.5", "top_1 = 0.5", "no metric of [acceptance] named 'top_1'; known: loss, top1, top5"),
        ("top1 = 0.5", "top1 = 88", "top1 lies between 0 and 1, received 88"),
        ('["onnx"]', '["onyx"]', "'onyx'"),
        ('"lenet5"', '"lenet55"', "'lenet55'"),
        ("[model]", "[task]\ncolour = 1\n[model]", "no option of the task classification named 'colour'"),
        ("image = [32, 32, 1]", "imag = 32", "no column of lenet5 named 'imag'"),
        ('"crop"]', '"cutmix", "flop"]', "'flop'"),
    ],
)
def test_what_is_misspelt_costs_no_training(tmp_path, monkeypatch, old, new, words):
    monkeypatch.setattr(jobs.training, "run", lambda *arguments, **options: pytest.fail("trained"))
    text = TEXT.replace("filters = [6, [16, 2]]\n", "").replace("28", "32")
    assert text.count(old) == 1
    (tmp_path / "recipe.toml").write_text(text.replace(old, new))
    refused = call(tmp_path / "recipe.toml", "--store", tmp_path / "store")
    assert refused.exit_code == 1 and words in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", ["quickstart", "mobilenet_v2_mobile"])
def test_a_recipe_by_name_does_not_replace_a_model_unasked(tmp_path, monkeypatch, name):
    """Neither by run nor by quickstart; asked for, what is there is trained on, or replaced."""
    carried = []
    monkeypatch.setattr(jobs, "run", lambda found, store, **options: carried.append((found.name, options)))
    found = recipe.find(name)
    arguments = [["run", name], ["quickstart"]][: 2 if name == "quickstart" else 1]
    for command in arguments:
        command += ["--store", str(tmp_path)]
        assert CliRunner().invoke(cli, command, catch_exceptions=False).exit_code == 0
        assert carried.pop()[0] == found.name and not carried
        (tmp_path / found.name).mkdir(exist_ok=True)
        (tmp_path / found.name / "card.json").write_text("{}")
        refused = CliRunner().invoke(cli, command, catch_exceptions=False)
        assert refused.exit_code == 1 and "holds a model already; --resume" in refused.stderr and not carried
        for option in ("resume", "overwrite"):
            assert CliRunner().invoke(cli, [*command, f"--{option}"], catch_exceptions=False).exit_code == 0
            assert carried.pop()[1][option] is True
        (tmp_path / found.name / "card.json").unlink()
