"""The page: its files, and what it is told of the models."""

from __future__ import annotations

from pathlib import Path
from string import Template

from cnn_app.inputs import by_encoded
from cnn_app.names import IMAGE_BYTES
from cnn_app.serving.server.models import Model, Models, Version

PAGE = Path(__file__).with_name("page")
INDEX = PAGE / "index.html"
FILES = tuple(sorted(file for file in PAGE.iterdir() if file != INDEX))


def index() -> str:
    """With the formats that images may have."""
    image = by_encoded(IMAGE_BYTES)
    return Template(INDEX.read_text("utf-8")).substitute(accept=",".join(image.suffixes), formats=image.formats)


def told(models: Models) -> list[dict]:
    """Each version that answers, the latest of a model first."""
    return [
        _row(model, version)
        for model in models.by_name.values()
        for version in reversed(model.available.values())
        if version.engine
    ]


def _row(model: Model, version: Version) -> dict:
    engine = version.engine
    assert engine
    signatures, task = engine.signatures, engine.task
    return {
        "name": model.name,
        "version": version.number,
        "engine": engine.kind,
        "labels": [label for label, number in model.labels.items() if number == version.number],
        "signatures": list(signatures),
        "encoded": [name for name, known in signatures.items() if known.of_strings and by_encoded(name)],
        "task": task.name if task else None,
        "input": task.input.brief() if task else None,
        "classes": list(task.labels) if task else [],
        "bytes": version.size_bytes,
    }
