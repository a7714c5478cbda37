"""Write what follows from the code: networks.md, lecture.md and api.md, the README's commands, and what `models` lists.

`make docs` runs it; tests/test_docs.py holds the pages against it.
"""

import dataclasses
import inspect
import json
import re
import textwrap
from importlib import import_module
from pathlib import Path

import click

import cnn_app
from cnn_app.analysis import lecture, listing, summary
from cnn_app.cli.main import COMMANDS, cli

ROOT = Path(__file__).parents[1]
FUNCTIONS = {
    "Networks": ("list_models", "create_model", "load_model"),
    "Jobs": ("train", "finetune", "evaluate", "predict", "visualize", "compare", "report", "export", "run", "tune"),
    "Data": ("data.arrays",),
    "Serving and delivery": ("serving.Client", "delivery.client.fetch"),
}
RECIPES = ("Recipe", "Data", "Schedule", "Transfer", "Export", "Transferability", "Tune")
RESULTS = (
    "artifacts.Card",
    "jobs.evaluate.Measured",
    "jobs.predict.Prediction",
    "jobs.visualize.Drawing",
    "jobs.compare.Comparison",
    "analysis.comparison.Compared",
    "export.verification.Comparison",
    "jobs.tune.Found",
)
TOP = """\
# Python

What the commands train, measure, export and ask, functions do as well. Importing `cnn_app` imports nothing heavy; a
function imports what it needs. Functions print nothing, results are returned. Every error that a user can cause is a
`cnn_app.errors.CnnAppError` with a message of one line.

This page is written by `make docs` from the code."""
WIDTH, WHOLE = 140, {"break_long_words": False, "break_on_hyphens": False}
ARGUMENT = re.compile(r"((?:\w+, )*\w+): (.*)", re.DOTALL)


def pages() -> dict[Path, str]:
    """Every generated page, as it should be."""
    readme = ROOT / "README.md"
    return {
        ROOT / "docs" / "networks.md": summary.markdown() + "\n",
        ROOT / "docs" / "lecture.md": lecture.markdown() + "\n",
        ROOT / "docs" / "api.md": api() + "\n",
        listing.FILE: json.dumps(summary.rows(), indent=1) + "\n",
        readme: between(readme.read_text(encoding="utf-8"), "commands", commands()),
    }


def commands() -> str:
    rows = [f"| `cnn-app {name}` | {first_sentence(cli.commands[name])} |" for name in COMMANDS]
    return "\n".join(("| command | what it does |", "|---|---|", *rows))


def first_sentence(command: click.Command) -> str:
    """Of the help."""
    text = " ".join(inspect.cleandoc(command.help or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.) ", text)[0]


def between(text: str, name: str, new: str) -> str:
    """`text` with `new` between the marks of `name`."""
    start, end = f"<!-- {name}: make docs -->", f"<!-- end of {name} -->"
    before, found, rest = text.partition(start)
    assert found, f"no {start}"
    return f"{before}{start}\n{new}\n{end}{rest.partition(end)[2]}"


def api() -> str:
    parts = [TOP]
    for title, names in FUNCTIONS.items():
        parts.append(f"## {title}")
        parts += [function(f"cnn_app.{name}", resolve(name)) for name in names]
    parts += [
        "## Recipes",
        "The values that jobs take. They are checked when they are made: RecipeError says what is wrong.",
    ]
    parts += [table(f"cnn_app.recipe.{name}", getattr(cnn_app.recipe, name)) for name in RECIPES]
    parts += ["## Results", "What jobs return."]
    parts += [table(f"cnn_app.{name}", resolve(name)) for name in RESULTS]
    return "\n\n".join(parts)


def resolve(name: str):
    """`jobs.evaluate.Measured` of the package; a job is where it is defined."""
    name = f"jobs.{name}.{name}" if name in cnn_app.JOBS else name
    module, _, last = name.rpartition(".")
    return getattr(import_module(f"cnn_app.{module}".rstrip(".")), last)


def function(name: str, found) -> str:
    return f"### {name}\n\n```python\n{call(name, found)}\n```\n\n{prose(found.__doc__)}"


def call(name: str, found) -> str:
    """The signature, a line for each argument where it is long."""
    signature = inspect.signature(found)
    given, star = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            star = True
            given.append("*")
        given.append(told(parameter))
    back = signature.return_annotation
    arrow = "" if back is inspect.Signature.empty or inspect.isclass(found) else f" -> {back}"
    line = f"{name}({', '.join(given)}){arrow}"
    return line if len(line) <= 120 else f"{name}(\n" + "".join(f"    {one},\n" for one in given) + f"){arrow}"


def told(parameter: inspect.Parameter) -> str:
    """As it stands in the code; a default that is long or a function is left to the text."""
    if parameter.kind is parameter.VAR_KEYWORD:
        return f"**{parameter.name}"
    annotation = "" if parameter.annotation is parameter.empty else f": {parameter.annotation}"
    if parameter.default is parameter.empty:
        return parameter.name + annotation
    default = repr(parameter.default)
    return f"{parameter.name}{annotation} = {default if len(default) < 40 and '<' not in default else '...'}"


def prose(doc: str | None) -> str:
    """A docstring in Markdown: paragraphs, and a list of the arguments."""
    paragraphs = []
    for paragraph in inspect.cleandoc(doc or "").split("\n\n"):
        items: list[str] = []
        for line in paragraph.split("\n"):
            if items and (line.startswith(" ") or not ARGUMENT.fullmatch(line)):
                items[-1] += f" {line.strip()}"
            else:
                items.append(line.strip())
        listed = all(ARGUMENT.fullmatch(item) for item in items)
        paragraphs.append("\n".join(map(argument, items)) if listed else textwrap.fill(" ".join(items), WIDTH, **WHOLE))
    return "\n\n".join(paragraphs)


def argument(item: str) -> str:
    names, text = ARGUMENT.fullmatch(item).groups()
    line = f"- {', '.join(f'`{name}`' for name in names.split(', '))}: {text}"
    return textwrap.fill(line, WIDTH, subsequent_indent="  ", **WHOLE)


def table(name: str, kind: type) -> str:
    """A dataclass by its fields, with what the comments behind them say."""
    comments = dict(summary.FIELD.findall(inspect.getsource(kind)))
    rows = []
    for item in dataclasses.fields(kind):
        default = default_of(item).replace("|", "\\|")
        annotation = str(item.type).replace("|", "\\|")
        rows.append(f"| `{item.name}` | `{annotation}` | {default} | {comments.get(item.name, '')} |")
    heads = "| field | type | default | what it is |\n|---|---|---|---|"
    return "\n".join((f"### {name}\n\n{prose(kind.__doc__)}\n", heads, *rows))


def default_of(item: dataclasses.Field) -> str:
    if item.default is not dataclasses.MISSING:
        return f"`{item.default!r}`"
    if item.default_factory is dataclasses.MISSING:
        return "needed"
    found = item.default_factory()
    return f"`{type(found).__name__}()`" if dataclasses.is_dataclass(found) else f"`{found!r}`"


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))
