"""The commands that benchmarks/kills.py kills: what lies in their folder before, and what may lie there then."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from cnn_app.artifacts import ModelDir, sha256
from cnn_app.delivery import catalogue, repository
from cnn_app.export import golden
from cnn_app.runtimes.tflite import about_of
from cnn_app.serving import store

NETWORK = ["-c", "maps=[2, 4, 8]", "-c", "units=8"]
DATA = ["--data", "digits", "--batch", "256", "--augment", "none"]
TRAIN = ["train", "lenet5", *NETWORK, *DATA, "--epochs", "3", "--out", "m"]
FINETUNE = ["finetune", "one", *DATA, "--epochs", "2", "--lr", "0.01", "--out", "m"]
EXPORT = ["export", "one", "--to", "saved_model,tflite-float32", "--force", "--max-drop", "100"]
ADD = ["deliver", "add", "catalogue", "one/mobile/one-float32.tflite", "--keys", "keys", "--version"]
AVERAGE = ["average", "one", "two", "--out", "m"]
QUICKSTART = ["quickstart", "--store", "."]
SMALL = ["export", "m", "--to", "tflite-float32", "--max-drop", "100"]
PUBLISH = ["serving", "publish", "one/serving/1", "models"]
RESUME = "to be resumed"
PREDICT = ["predict", "one", "digit.png", "--out", "answers.jsonl", "--top"]
RECIPE = """
name = "quickstart"
[model]
name = "lenet5"
maps = [2, 4, 8]
units = 8
[data]
source = "digits"
[schedule]
epochs = 2
batch = 256
augment = []
[export]
targets = ["tflite-float32"]
max_drop = 100.0
"""


def weights(model: Path) -> str:
    """Digest of all numbers in a .keras file."""
    digest = hashlib.sha256()

    def add(name, item):
        if isinstance(item, h5py.Dataset):
            digest.update(name.encode() + np.asarray(item).tobytes())

    with zipfile.ZipFile(model) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file.visititems(add)
    return digest.hexdigest()


def model(path: Path) -> tuple | None:
    """What a model directory holds, if it is whole."""
    directory = ModelDir(path)
    if not directory.card.is_file():
        return None
    directory.check_state()
    return weights(directory.model), json.dumps(directory.read_card().metrics)


def exported(path: Path) -> dict[str, str]:
    """The version that each exported file names; what the list says fits the files, and they fit their answers."""
    directory, found = ModelDir(path), {}
    for line in directory.read_exports():
        place = path / line["path"]
        assert sha256(place) == line["sha256"], f"{place} is not the file that was recorded"
        found[line["path"]] = about_of(place).version if place.suffix == ".tflite" else ""
    versions = (directory.serving / str(version) for version in store.versions(directory.serving))
    for place in (*directory.mobile.glob("*.tflite"), *versions):
        answers = golden.place(place)
        assert not answers.exists() or str(golden.read(answers)["sha256"]) == golden.digest(place), (
            f"{place}, {answers}"
        )
    return found


def trained(folder: Path, name: str = "m"):
    """Model and exported files, or that a run is to be resumed."""
    if (folder / name / "training" / "state.npz").exists():
        return RESUME
    return model(folder / name), exported(folder / name)


def published(folder: Path):
    parts = [folder / "models" / str(version) for version in store.versions(folder / "models")]
    assert {sha256(part) for part in parts} == {sha256(folder / "one" / "serving" / "1")}, "a version is not whole"
    return len(parts)


def delivered(folder: Path):
    state = repository.load(folder / "catalogue")
    for target in state.targets.signed.targets.values():
        target.verify_length_and_hashes(repository.file_of(folder / "catalogue", target).read_bytes())
    return [entry.version for entry in catalogue.listing(folder / "catalogue").entries]


@dataclass(frozen=True)
class Case:
    """A command, what its folder holds before it, what it leaves, and the next one, which writes there again."""

    words: list[str]
    parts: tuple[str, ...]
    state: Callable[[Path], object]
    following: dict[str, list[str]]  # by the state that was left
    share: int = 1  # of the kills


def run(words: list[str], parts: tuple[str, ...], state: Callable[[Path], object], share: int = 1, **others) -> Case:
    """Of a command that --resume and --overwrite repeat; `others` follow other states."""
    again = {"old": words, "new": [*words, "--overwrite"], "resume": [*words, "--resume"]}
    return Case(words, parts, state, again | others, share)


def repeated(
    words: list[str], parts: tuple[str, ...], state: Callable[[Path], object], share: int = 1, **others
) -> Case:
    """Of a command that may come twice; `others` follow other states."""
    return Case(words, parts, state, dict.fromkeys(("old", "new"), words) | others, share)


CASES = {
    "train": run(TRAIN, (), trained, share=2),
    "train --overwrite": repeated([*TRAIN, "--overwrite"], ("m",), trained, resume=[*TRAIN, "--resume"], share=2),
    "finetune": run(FINETUNE, ("one",), trained),
    "export": repeated(
        [*EXPORT, "--version", "2"], ("one",), lambda folder: exported(folder / "one"),
        mixed=[*EXPORT, "--version", "2"],
    ),
    "quickstart": run(
        QUICKSTART, (), lambda folder: trained(folder, "quickstart"), mixed=[*QUICKSTART, "--overwrite"]
    ),
    "average": Case(
        AVERAGE, ("one", "two"), lambda folder: model(folder / "m"), {"old": AVERAGE, "new": SMALL}, share=2,
    ),
    "serving publish": repeated(PUBLISH, ("one", "models"), published, share=4),
    "deliver add": Case(
        [*ADD, "1.1.0"], ("one", "catalogue", "keys"), delivered,
        {"old": [*ADD, "1.1.0"], "new": [*ADD, "1.2.0"]}, share=4,
    ),
    "predict --out": repeated(
        [*PREDICT, "2"], ("one", "digit.png", "answers.jsonl"), lambda folder: (folder / "answers.jsonl").read_text(),
        share=2,
    ),
}  # fmt: skip


def setup(folder: Path, parts: set[str]) -> Iterator[list[str]]:
    """The commands that make what folders hold before; the last of all make what only some need."""
    for seed, name in enumerate(("one", "two", "m")):
        if name in parts:
            yield ["train", "lenet5", *NETWORK, *DATA, "--epochs", "1", "--seed", str(seed + 1), "--out", name]
    if "one" in parts:
        yield [*EXPORT, "--version", "1"]
    if "models" in parts:
        yield ["serving", "publish", "one/serving/1", "models"]
    if "catalogue" in parts:
        yield ["deliver", "init", "catalogue", "--keys", "keys"]
        yield [*ADD, "1.0.0"]
    if "digit.png" in parts:
        Image.fromarray((load_digits().images[0] * 15).astype("uint8")).save(folder / "digit.png")
        yield [*PREDICT, "1"]
