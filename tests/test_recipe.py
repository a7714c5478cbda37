from pathlib import Path

import pytest

from cnn_app import recipe
from cnn_app.errors import RecipeError
from cnn_app.recipe import Acceptance, Data, Export, Recipe, Schedule

SHIPPED = sorted((Path(__file__).parents[1] / "pipelines").glob("*.toml"))
TEXT = """
name = "small"

[model]
name = "lenet5"
filters = [6, [16, 2]]

[data]
source = "digits"
image = [28, 32, 1]

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
    assert recipe.shipped(path.stem) == path


def test_there_are_shipped_recipes():
    assert "quickstart" in [path.stem for path in SHIPPED]


def test_every_value_arrives(tmp_path):
    found = read(tmp_path, TEXT)
    assert found == Recipe(
        name="small",
        model={"name": "lenet5", "filters": (6, (16, 2))},
        data=Data(source="digits", image=(28, 32, 1)),
        schedule=Schedule(epochs=3, lr=1.0, augment=("flip", "crop")),
        export=Export(targets=("onnx",), max_drop=2.0),
        acceptance=Acceptance(top1=0.5),
    )
    assert type(found.schedule.lr) is float and type(found.export.max_drop) is float


def test_tables_may_be_left_out(tmp_path):
    found = read(tmp_path, 'name = "n"\nmodel = {name = "lenet5"}\ndata = {source = "shapes"}')
    assert found.schedule == Schedule() and found.export is None and found.acceptance.top1 == 0


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("[schedule]", "[scedule]", ("scedule", "schedule")),
        ('name = "small"', 'name = "small"\ncolour = 1', ("colour", "acceptance", "about")),
        ("epochs = 3", "epoch = 3", ("epoch", "epochs")),
        ("source =", "sources =", ("sources", "source", "on_bad_image")),
        ("max_drop", "maxdrop", ("maxdrop", "max_drop", "calibration")),
        ("top1", "top5", ("top5", "top1")),
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
        ("[28, 32, 1]", "[28, 32]", ("image", "list of 3", "[28, 32]")),
        ("[28, 32, 1]", "[28, 32, 1.5]", ("image", "int", "1.5")),
        ("[28, 32, 1]", "28", ("image", "list of 3", "28")),
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
        ("top1 = 0.5", "top1 = 88", ("top1", "between 0 and 1", "received 88")),
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


def test_a_recipe_that_is_not_shipped():
    with pytest.raises(RecipeError, match="no recipe absent.toml in .*pipelines"):
        recipe.shipped("absent")
