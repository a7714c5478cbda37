"""The versions under a TF Serving base path."""

from __future__ import annotations

from pathlib import Path

from cnn_app.artifacts import read_json


def labels(base: Path) -> dict[str, int]:
    """Names of versions, such as stable and canary."""
    file = base / "labels.json"
    return read_json(file) if file.is_file() else {}


def versions(base: Path) -> list[int]:
    """The numbers of the version folders, the oldest first."""
    return sorted(int(folder.name) for folder in base.iterdir() if folder.name.isdecimal() and folder.is_dir())
