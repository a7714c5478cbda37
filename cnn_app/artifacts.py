"""The model store: the layout of a model directory, its card, and checksums.

saved_models/<name>/
    model.keras  card.json  history.csv  curves.png
    report.html  report.json    what came out, as a page, and what of it was measured
    splits.csv              which record was in which split
    familiarity.npz         what its training data look like to it: see runtimes.familiarity
    serving/<version>/      a TF Serving base path
    mobile/*.tflite
    onnx/*.onnx
    exports.json            one line for each exported file: what it is and how far it is from the Keras model
    training/               the state of an unfinished run
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from cnn_app import cluster
from cnn_app.atomic import check_place, one_writer, write_json
from cnn_app.errors import ArtifactError, TrainingError

JSON_LIMIT_BYTES = 64 * 2**20

FORMAT = 2  # of cards; 0.1.0's had no number, knew images alone, and had `image` in the place of `input`


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a model directory says about its model."""

    architecture: str
    columns: dict
    labels: tuple[str, ...]
    input: dict  # its kind, and what a record needs to be prepared for the network
    task: str = "classification"
    options: dict = field(default_factory=dict)  # of the task
    data: dict = field(default_factory=dict)  # source, directory, fingerprint, split and number of records in each
    metrics: dict = field(default_factory=dict)  # of the kept checkpoint
    recipe: dict = field(default_factory=dict)  # the schedule it was trained with
    versions: dict = field(default_factory=dict)  # of the packages that trained it
    digests: dict = field(default_factory=dict)  # file name -> SHA-256
    format: int = FORMAT
    other: dict = field(default_factory=dict)  # what a later version wrote and this one does not know


class ModelDir:
    """A model directory at `path`; nothing is created before something is written."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.model = self.path / "model.keras"
        self.card = self.path / "card.json"
        self.splits = self.path / "splits.csv"
        self.familiarity = self.path / "familiarity.npz"
        self.history = self.path / "history.csv"
        self.curves = self.path / "curves.png"
        self.report = self.path / "report.html"
        self.report_facts = self.path / "report.json"
        self.exports = self.path / "exports.json"
        self.serving = self.path / "serving"
        self.mobile = self.path / "mobile"
        self.onnx = self.path / "onnx"
        self.training = self.path / "training"

    @property
    def name(self) -> str:
        return self.path.resolve().name

    def read_card(self) -> Card:
        if not self.card.is_file():
            raise ArtifactError(f"{self.path} is no model directory: it has no card.json; train writes one")
        values = read_json(self.card)
        told = values.get("format", 1) if isinstance(values, dict) else 1
        if isinstance(told, int) and told > FORMAT:
            raise ArtifactError(f"{self.card} has format {told}, this version knows {FORMAT}; update cnn-app")
        if isinstance(values, dict) and "input" not in values:
            values["input"] = {"kind": "image", "image": values.pop("image", None)}
            values.pop("resize", None)
        if not _is_card(values):
            raise ArtifactError(
                f"{self.card} is no card of a model; it needs architecture, columns, labels and an input with a size"
            )
        known = {item.name for item in fields(Card)}
        columns = {name: tuples(value) for name, value in values["columns"].items()}
        other = {name: value for name, value in values.items() if name not in known}
        given = {name: value for name, value in values.items() if name in known} | {"format": FORMAT}
        labels = tuple(map(str, values["labels"]))
        if "" in labels:
            raise ArtifactError(f"{self.card} names {labels.count('')} of its classes by nothing; each needs a name")
        return Card(**given | {"columns": columns, "labels": labels, "other": other})

    def write_card(self, card: Card) -> None:
        values = asdict(card)
        write_json(self.card, values | values.pop("other"))

    def check_state(self) -> None:
        """Refuse a model and a card of two runs: one that was killed in between left them."""
        if self.card.is_file() and (digest := self.read_card().digests.get("model.keras")):
            if digest != sha256(self.model):
                raise ArtifactError(
                    f"{self.model} and {self.card.name} are of two runs, the second of which was stopped between them; "
                    "go on with --resume, or train again with --overwrite"
                )

    def check_free(self, *, resume: bool = False, overwrite: bool = False) -> None:
        """Refuse to replace a model unasked, and a place that cannot be written: better now than after an epoch."""
        if self.card.exists() and not resume and not overwrite:
            raise TrainingError(f"{self.path} holds a model already; --resume goes on with it, --overwrite replaces it")
        check_place(self.path / "card.json")

    @contextmanager
    def writing(self, exporting: bool = False) -> Iterator[None]:
        """One writer at a time, in the store inside, too, where there is one or will be."""
        with one_writer(self.path, ArtifactError), ExitStack() as stack:
            if exporting or self.serving.is_dir():
                stack.enter_context(one_writer(self.serving, ArtifactError))
            yield

    @contextmanager
    def training_run(self, *, resume: bool = False, overwrite: bool = False) -> Iterator[None]:
        """As `writing`, where `check_free` allows it."""
        self.check_free(resume=resume, overwrite=overwrite)
        with self.writing():
            self.check_free(resume=resume, overwrite=overwrite)  # another run may have ended in between
            yield

    def is_stale(self, model_sha256: str) -> bool:
        """Whether a file that was exported of this model is of another than the one that is here now."""
        return self.model.is_file() and model_sha256 not in ("", sha256(self.model))

    def retire_exports(self) -> None:
        """Remove what was exported of a model that was replaced."""
        for line in self.read_exports():
            place = self.path / line["path"]
            if not place.resolve().is_relative_to(self.path.resolve()):
                continue  # not ours to remove
            for file in (place, *place.parent.glob(f"{place.stem}.golden.npz"), place.with_suffix(".layers.csv")):
                shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
        self.exports.unlink(missing_ok=True)

    def read_exports(self) -> list[dict]:
        """What is known of the exported files that are here; of two lines for one file, that with its digest."""
        lines = read_json(self.exports) if self.exports.is_file() else []
        if not isinstance(lines, list) or not all(isinstance(line, dict) and "path" in line for line in lines):
            raise ArtifactError(f"{self.exports} is no list of exported files; remove it and export again")
        found: dict[str, dict] = {}
        for line in lines:
            name, place = line["path"], self.path / line["path"]
            if place.exists() and (name not in found or line.get("sha256") == sha256(place)):
                found[name] = line
        return list(found.values())

    def announce_export(self, line: dict) -> None:
        """Record a file that is about to take its place: wherever its writer is killed, list and files agree."""
        write_json(self.exports, [*self.read_exports(), line])
        for ending in (".golden.npz", ".layers.csv"):  # they tell of the file that goes
            (self.path / line["path"]).with_suffix(ending).unlink(missing_ok=True)

    def settle_exports(self) -> None:
        """Strike off the list what was replaced or never came."""
        write_json(self.exports, self.read_exports())


def is_model(path: str | os.PathLike[str]) -> bool:
    """Whether a model lies at `path`: a file with an ending, or a folder that holds one."""
    path = Path(path)
    inside = ("card.json", "model.keras", "saved_model.pb")
    return any((path / name).is_file() for name in inside) or (path.is_file() and path.suffix != "")


def model_dir_of(path: str | os.PathLike[str]) -> ModelDir | None:
    """The model directory that an artifact lies in, if any."""
    start = Path(path).resolve()
    for folder in (start, *start.parents[:3]):
        if (folder / "card.json").is_file():
            return ModelDir(folder)
    return None


def read_json(path: Path):
    try:
        if path.stat().st_size > JSON_LIMIT_BYTES:
            raise ArtifactError(f"{path} is larger than {JSON_LIMIT_BYTES >> 20} MiB; that is none of our files")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is damaged: {error}") from error


def sha256(path: Path, leaving: str = "") -> str:
    """Digest of a file, or of a directory's files with their names, but for those in its folder `leaving`."""
    if path.is_dir():
        lines = (f"{sha256(file)}  {file.relative_to(path).as_posix()}\n" for file in sorted(path.rglob("*"))
                 if file.is_file() and file.relative_to(path).parts[0] != leaving)  # fmt: skip
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def size_bytes(path: Path) -> int:
    """Size of a file, or of all files in a directory."""
    return (
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
    )


def _is_card(values) -> bool:
    """Whether JSON `values` have the keys and types of a Card."""
    types = {item.name: {"str": str, "dict": dict, "int": int}.get(str(item.type), list) for item in fields(Card)}
    return (
        isinstance(values, dict)
        and {"architecture", "columns", "labels", "input"} <= set(values)
        and all(isinstance(value, types[name]) for name, value in values.items() if name in types)
        and (values["input"].get("kind") != "image" or _are_sides(values["input"].get("image")))
    )


def _are_sides(value) -> bool:
    return isinstance(value, list) and [type(side) for side in value] == [int] * 3 and min(value) > 0


def tuples(value):
    """JSON's lists are the tuples of a variant's row."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value


@contextmanager
def training_directory(out: str | os.PathLike[str], *, resume: bool, overwrite: bool) -> Iterator[ModelDir]:
    """The model directory `out` for a run of this process alone; of several machines all but the chief have copies."""
    with (
        cluster.place(out, resume=resume) as written,
        (directory := ModelDir(written)).training_run(resume=resume, overwrite=overwrite),
    ):
        yield directory
