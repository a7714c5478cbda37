"""What a model file says of itself: its task, input and labels, and where it comes from.

As JSON: model.json in the zip behind a TFLite file and in a SavedModel's assets, metadata_props of ONNX, and a part of
a .keras file's own metadata. A card that lies beside a file is never asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from cnn_app.errors import ArtifactError

FILE, LABELS = "model.json", "labels.txt"
MAX_BYTES = 64 * 2**20
UNSAID = "classification"  # the task of files that do not say: those of 0.1.0, and others' Keras files


@dataclass(frozen=True, kw_only=True)
class About:
    """The same in all files of a model."""

    task: str
    input: dict
    labels: tuple[str, ...] = ()
    options: dict = field(default_factory=dict)  # of the task
    name: str = ""
    description: str = ""
    author: str = ""
    license: str = ""
    version: str = ""
    data_sha256: str = ""  # fingerprint of the training data
    split: dict = field(default_factory=dict)  # how they were divided
    model_sha256: str = ""  # of the Keras file

    def facts(self) -> dict:
        """What `tasks.of_facts` takes."""
        return {"task": self.task, "input": self.input, "labels": list(self.labels), "options": self.options}

    def json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n"

    def lines(self) -> str:
        return "".join(f"{label}\n" for label in self.labels)

    def texts(self) -> dict[str, str]:
        """Every fact as a text, for ONNX."""
        return {name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                for name, value in asdict(self).items()}  # fmt: skip


def of_json(data: bytes | str, where, key: str = "") -> About | None:
    """What a file of ours says; with a `key`, at that of an object, and None where it has none.

    Raises ArtifactError where it is not well-formed.
    """
    try:
        values = json.loads(data)
        values = values.get(key) if key else values
        return None if key and values is None else of_values(values)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"what {where} says of itself is damaged: {error}; export it again") from error


def of_values(values: Mapping) -> About:
    known = {item.name for item in fields(About)}
    values = dict(values)
    if "input" not in values:  # 0.1.0 knew classified images alone
        values |= {"task": UNSAID, "input": {"kind": "image", "image": values["image"]}}
    found = About(**{name: value for name, value in values.items() if name in known} | {
        "labels": tuple(map(str, values.get("labels", ())))})  # fmt: skip
    if not (isinstance(found.input, dict) and isinstance(found.options, dict) and isinstance(found.task, str)
            and isinstance(found.split, dict)):  # fmt: skip
        raise ValueError("task, input and options are needed")
    return found


def of_texts(texts: Mapping[str, str], where) -> About | None:
    """The opposite of `About.texts`; None for what others wrote."""
    if not {"labels", "description"} <= set(texts):
        return None
    plain = {"name", "description", "author", "license", "version", "data_sha256", "model_sha256", "task", "pixels"}
    try:
        return of_values({name: text if name in plain else json.loads(text) for name, text in texts.items()})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ArtifactError(f"what {where} says of itself is damaged: {error}; export it again") from error
