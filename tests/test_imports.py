"""What may import what, and what must stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cnn_app"
LIGHT = ["cnn_app", "cnn_app.errors", "cnn_app.registry", "cnn_app.recipe", "cnn_app.artifacts", "cnn_app.quiet",
         "cnn_app.atomic", "cnn_app.child", "cnn_app.systems", "cnn_app.names", "cnn_app.tensors", "cnn_app.inputs",
         "cnn_app.inputs.files", "cnn_app.data", "cnn_app.tasks", "cnn_app.export.targets", "cnn_app.serving",
         "cnn_app.serving.store", "cnn_app.serving.store.config", "cnn_app.cli.main",
         "cnn_app.analysis.listing", "cnn_app.__main__"]  # fmt: skip
LAYERS = [
    {
        "errors",
        "quiet",
        "lock",
        "names",
        "atomic",
        "child",
        "shares",
        "systems",
        "augmentations",
        "ranges",
        "cluster",
        "toml_tables",
    },
    {"registry", "recipe", "artifacts", "tensors"},
    {"layers"},
    {"architectures"},
    {"inputs", "heads", "data", "runtimes"},
    {"tasks"},
    {"training", "transfer", "export", "delivery", "serving", "analysis"},
    {"jobs"},
    {"doctor", "cli"},
    {"__main__"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def imports(file: Path):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_sub_packages_are_there_without_an_import():
    """Nothing is imported for them before they are asked for, and what is not there is an AttributeError."""
    code = "import sys, cnn_app; before = {'keras', 'cnn_app.transfer'} & set(sys.modules); "
    code += "cnn_app.transfer.load_weights; print(before, hasattr(cnn_app, 'nothing'), hasattr(cnn_app, '__wrapped__'))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == "set() False False\n"


def test_light_modules_load_neither_keras_nor_tensorflow_nor_numpy():
    code = f"import sys, {', '.join(LIGHT)}; print(*sorted({{'keras', 'tensorflow', 'numpy'}} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert loaded == []


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_downwards(file):
    part = file.relative_to(PACKAGE).with_suffix("").parts[0]
    if part == "__init__":
        return  # resolves its functions and packages when they are asked for
    wrong = [
        name
        for name in imports(file)
        if name.startswith("cnn_app.") and (other := name.split(".")[1]) != part and RANK.get(other, -1) > RANK[part]
    ]
    assert not wrong


def test_the_server_knows_no_kind_of_data_or_task():
    kinds = (file for folder in ("inputs", "tasks") for file in (PACKAGE / folder).glob("[!_]*.py"))
    known = ("cnn_app.data", "cnn_app.heads", "PIL", *(f"cnn_app.{file.parent.name}.{file.stem}" for file in kinds))
    assert "cnn_app.inputs.pixels" in known
    for file in sorted((PACKAGE / "serving" / "server").glob("*.py")):
        assert not [name for name in imports(file) if name.startswith(known)], file


@pytest.mark.parametrize("folder", ["architectures", "heads"])
def test_builders_are_pure_keras(folder):
    for file in (PACKAGE / folder).glob("*.py"):
        assert not [name for name in imports(file) if name.split(".")[0] == "tensorflow"], file
