"""The documents: complete, current, linked, and true."""

import importlib.util
import re
import shutil
from pathlib import Path

import click
import pytest
from documents import Reader, Step, difference, steps

from cnn_app import recipe
from cnn_app.cli.main import COMMANDS, cli

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCUMENTS = sorted((*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")))
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)|!\[[^\]\n]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(document):
    """Of headings, as GitHub makes them."""
    lines = re.sub("```.*?```", "", document, flags=re.DOTALL).splitlines()
    titles = [line.lstrip("#").strip() for line in lines if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(group, name=""):
    for child, command in group.commands.items():
        yield f"{name} {child}".strip(), command
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {child}".strip())


def test_the_readme_is_short_and_has_every_command():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 180
    assert [name for name in COMMANDS if f"`cnn-app {name}`" not in text] == []


@pytest.mark.parametrize(
    ("name", "command"), list(commands(cli)), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_and_option_has_help(name, command):
    assert command.help and command.help.strip()
    options = [one for one in command.params if isinstance(one, click.Option)]
    assert [one.name for one in options if not one.help] == []


def test_generated_pages_are_current():
    for path, text in generate().pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is not what the code says; run `make docs`"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    found = CODE.sub("", path.read_text(encoding="utf-8"))
    for groups in LINK.findall(found):
        target = "".join(groups)
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f"{path.name}: {target}"
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), f"{path.name}: {target}"


def test_the_index_has_every_document():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    lacking = [path.name for path in (ROOT / "docs").glob("*.md") if path.name != "index.md" and path.name not in index]
    assert lacking == []


def test_recipes_are_told_and_can_be_read():
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    shipped = {file.stem: recipe.read(file) for file in (ROOT / "pipelines").glob("*.toml")}
    assert [name for name, found in shipped.items() if f"[`{name}`]" not in page or found.about not in page] == []
    for kind in (
        recipe.Data,
        recipe.Schedule,
        recipe.Transfer,
        recipe.Distillation,
        recipe.Export,
        recipe.Transferability,
    ):
        lacking = [name for name in kind.__dataclass_fields__ if f"`{name}`" not in page]
        assert lacking == [], kind.__name__


def test_the_recipe_of_the_page_can_be_read(tmp_path):
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "example.toml").write_text(example)
    assert recipe.read(tmp_path / "example.toml").task == {"loss": "both"}


def test_examples_are_compared_as_people_do():
    table = [
        "┃ target ┃ drop ┃ ms ┃",
        "│ onnx │ +0.00 │ 1.89 │",
        "...",
        "done in 2026-01-01: epoch  15 kept, top-1 0.98",
    ]
    near = [
        "┃ target ┃  drop ┃  ms ┃",
        "│ onnx   │ -0.63 │ 7.0 │",
        "",
        "x",
        "done in 2027-02-02: epoch 9 kept, top-1 0.97",
    ]
    assert difference(table, near) is None
    assert "wanted" in difference(table, [near[0], "│ onnx   │ -9.00 │ 7.0 │", *near[2:]])
    assert "not printed" in difference(table, near[:3])
    assert "wanted" in difference(["8 records"], ["9 records"])
    assert "not told" in difference(["8 records"], ["8 records", "more"])
    assert difference(["a", "..."], ["a", "b", "c"]) is None
    text = "```\n$ cnn-app a\nb\n$ cnn-app c\n```\n```python\nd\n```\n```\nnot this\n```\n"
    assert steps(text) == [Step("cnn-app a", printed=["b"]), Step("cnn-app c"), Step("d\n", python=True)]


def carry_out(document, reader):
    for step in steps(document.read_text(encoding="utf-8")):
        printed = reader.do(step)
        if not step.python:
            found = difference(step.printed, printed)
            assert found is None, f"{document.name}: {step.text}\n{found}"


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The folder of a reader who did all that the README says."""
    folder = tmp_path_factory.mktemp("reader")
    with pytest.MonkeyPatch.context() as patch, Reader() as reader:
        patch.chdir(folder)
        carry_out(README, reader)
    return folder


@pytest.mark.slow
def test_the_readme_is_true(told):
    assert (told / "app" / "shapes.tflite").read_bytes() == (
        told / "saved_models" / "shapes" / "mobile" / "shapes-int8.tflite"
    ).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["delivery.md", "data.md"])
def test_the_document_is_true(told, tmp_path, monkeypatch, name):
    for folder in ("saved_models", "photos"):
        shutil.copytree(told / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    with Reader() as reader:
        carry_out(ROOT / "docs" / name, reader)
