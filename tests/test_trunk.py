"""The chain from data to an endpoint names no task: what a network is for is a value that it passes on."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cnn_app"
COMMANDS = [f"cli/{name}.py" for name in ("train", "evaluate", "predict", "export", "verify", "benchmark")]
CHAIN = [
    path
    for place in ("training", "export", "jobs", "runtimes", "serving", *COMMANDS)
    for path in sorted((PACKAGE / place).rglob("*") if (PACKAGE / place).is_dir() else [PACKAGE / place])
    if path.is_file() and path.suffix != ".pyc"
]
WORDS = re.compile("classification|top1", re.IGNORECASE)
ALLOWED = {
    "runtimes/about.py": re.compile('^UNSAID = "classification"'),  # of files that say nothing, the only default
    "serving": re.compile(
        r"(?i)classification(_pb2|response|request|s\b|,regression|\.proto)|classify"
    ),  # TF Serving's
}


def allowed(file, line):
    place = file.relative_to(PACKAGE).as_posix()
    return any(place.startswith(start) and words.search(line) for start, words in ALLOWED.items())


def test_the_chain_is_there():
    found = {path.relative_to(PACKAGE).as_posix() for path in CHAIN}
    assert {"export/run.py", "jobs/train.py", "training/engine.py", "runtimes/tflite.py", *COMMANDS} <= found
    assert any(name.startswith("serving/") and name.endswith(".html") for name in found)


@pytest.mark.parametrize("file", CHAIN, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_no_part_of_the_chain_names_a_task(file):
    lines = enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
    assert [f"{n}: {line}" for n, line in lines if WORDS.search(line) and not allowed(file, line)] == []


def test_each_task_and_input_has_a_module_with_all_that_is_asked_of_it():
    from cnn_app import heads, inputs, tasks

    def asked(protocol):
        return {name for name in vars(protocol) if not name.startswith("_")} | set(protocol.__annotations__)

    for name in tasks.TASKS:
        kind = tasks.named(name)
        known = set(dir(kind)) | set(kind.__dataclass_fields__)
        assert kind.name == name and asked(tasks.Task) - known == set()
        assert heads.named(name).OUTPUTS and callable(heads.named(name).build)
    for name in inputs.INPUTS:
        kind = inputs.named(name)
        assert kind.kind == name and asked(inputs.Input) - set(dir(kind)) - set(kind.__dataclass_fields__) == set()


@pytest.mark.slow
def test_export_is_a_job_before_and_after_its_package_is_imported():
    code = "import cnn_app; first = cnn_app.export; import cnn_app.export.targets; print(first.__name__); "
    code += "print(callable(first), callable(cnn_app.export), cnn_app.export.targets.TARGETS['onnx'].module)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["export", "True True onnx"]
