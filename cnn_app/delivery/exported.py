"""A file that `export` wrote, as it goes into a catalogue."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cnn_app.artifacts import ModelDir, model_dir_of
from cnn_app.delivery.entry import SUFFIX
from cnn_app.errors import DeliveryError
from cnn_app.export import golden
from cnn_app.runtimes.tflite import about_of

IDENTIFIER = b"TFL3"  # of a TFLite flatbuffer, behind four bytes


@dataclass(frozen=True)
class Exported:
    """The bytes that are published, and what their model directory says of them."""

    data: bytes
    answers: bytes | None  # the golden file beside it
    name: str = ""
    kind: str = "tflite"
    min_runtime: str = ""


def read(path: Path) -> Exported:
    """Refused if it is no TFLite file, or other bytes than were exported and verified."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DeliveryError(f"cannot read {path}: {error.strerror}; give a {SUFFIX} file that export wrote") from error
    if path.suffix != SUFFIX or data[4:8] != IDENTIFIER:
        raise DeliveryError(f"{path} is no TFLite file; give one that export wrote, such as mobile/photos-int8.tflite")
    digest, answers = hashlib.sha256(data).hexdigest(), golden.place(path)
    digests = {str(golden.read(answers)["sha256"])} if answers.exists() else set()
    directory = model_dir_of(path)
    line, said = _line(directory, path) if directory else {}, about_of(path)
    if directory and directory.is_stale(said.model_sha256 if said else line.get("model", "")):
        raise DeliveryError(f"{path} is stale: {directory.model} was replaced since; export it again")
    if {digest} != {digest} | digests | {line.get("sha256", digest)}:
        raise DeliveryError(f"{path} was changed since it was exported; export it again")
    return Exported(
        data=data, answers=answers.read_bytes() if digests else None, name=directory.name if directory else "",
        kind=line.get("target", "tflite"), min_runtime=line.get("min_runtime", ""),
    )  # fmt: skip


def _line(directory: ModelDir, path: Path) -> dict:
    """What exports.json says of the file; nothing if it does not list it."""
    lines = (line for line in directory.read_exports() if (directory.path / line["path"]).resolve() == path.resolve())
    return next(lines, {})
