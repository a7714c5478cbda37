"""The whole state of a run on disk: weights, optimizer, random states, and where it stands."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from cnn_app.artifacts import ModelDir
from cnn_app.atomic import replacing
from cnn_app.errors import ArtifactError, TrainingError
from cnn_app.recipe import Schedule
from cnn_app.tensors import Arrays
from cnn_app.training.optimizers import learning_rate
from cnn_app.training.step import Stepper
from cnn_app.training.step.base import ACCUMULATED, ITERATION

NAMES = ("state.npz", "previous.npz")  # the newest, and the one before
MARK = b"sha256"  # behind the arrays; the digest of all in front follows
STREAM, VARIABLE = "stream/", "variable/"  # in front of the names of what belongs to them
UNNAMED = "variable"  # in 0.1.0 numbers follow, in the order of `Base.variables`


@dataclass
class Position:
    """Where a run stands. `step` counts optimizer steps from the start of the run."""

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)  # of the metrics of this epoch's steps
    best: tuple[float, ...] | None = None  # what ranks the kept checkpoint on val, the higher the better
    best_epoch: int = 0
    plateaus: int = 0  # times the rate was lowered
    halved: int = 0  # times it was halved, as the run diverged
    parts: int = 1  # that a batch is divided into, as it did not fit the memory
    waited: int = 0  # epochs since the lowest val loss
    lowest_loss: float | None = None
    history: list[dict] = field(default_factory=list)

    def rate(self, schedule: Schedule, steps: int, back: int = 0) -> float:
        """The learning rate of the next step, or of one before, such as -1; an epoch has so many `steps`."""
        return learning_rate(schedule, self.step + back, steps, self.plateaus) / 2**self.halved


@dataclass(frozen=True)
class Saved:
    """What a run goes on from."""

    position: Position
    variables: Arrays
    stream: Arrays  # its state
    settings: dict


def save(
    directory: ModelDir, variables: Arrays, position: Position, settings: dict, state: Arrays, *, first: bool = False
) -> None:
    """Write all variables, the position and the state of the stream, as one file: either all is there or none.

    The one before stays beside it, but for the `first` of a run.
    """
    arrays = {f"{VARIABLE}{name}": array for name, array in variables.items()}
    arrays |= {f"{STREAM}{name}": array for name, array in state.items()}
    header = json.dumps({"position": asdict(position), "settings": settings})
    newest, before = (directory.training / name for name in NAMES)
    with replacing(newest) as scratch:
        with scratch.open("w+b") as stream:
            np.savez(stream, header=np.frombuffer(header.encode(), np.uint8), **arrays)
            stream.seek(0)
            digest = hashlib.file_digest(stream, "sha256").digest()
            stream.seek(0, os.SEEK_END)
            stream.write(MARK + digest)
        if not first and newest.is_file():
            newest.replace(before)
    if first:
        before.unlink(missing_ok=True)


def read(directory: ModelDir, settings: dict, tell: Callable[[str], None]) -> Saved:
    """The newest checkpoint that is whole; refuse one that was made with other settings."""
    found = [path for path in (directory.training / name for name in NAMES) if path.is_file()]
    if not found:
        raise TrainingError(
            f"nothing to resume in {directory.path}: no unfinished run was saved there; leave --resume out"
        )
    header, arrays = _whole(found, tell)
    before = json.loads(json.dumps(asdict(Schedule()))) | header["settings"]  # what it does not say was so for all
    for name, value in settings.items():
        longer = name == "epochs" and value > before[name]
        if value != before.get(name) and not longer:
            raise TrainingError(
                f"cannot resume with another {name}: it was {before.get(name)!r} and is {value!r} now; "
                "use the same options, or leave --resume out to start again"
            )
    values = header["position"]
    position = Position(**values | {"best": values["best"] and tuple(values["best"])})
    return Saved(position, _of(arrays, VARIABLE) or _of(arrays, UNNAMED), _of(arrays, STREAM), before)


def fill(directory: ModelDir, run: Stepper, saved: Saved) -> None:
    """Restore a stepper that was made as the one that was saved."""
    arrays, step = saved.variables, saved.position.step
    wanted = run.state()
    if all(name.isdigit() for name in arrays) and len(arrays) == len(wanted):
        arrays = dict(zip(wanted, arrays.values(), strict=True))
        arrays[ITERATION] = np.full_like(wanted[ITERATION], step)  # there it began anew where layers were unfrozen
    sums = {name: array for name, array in wanted.items() if ACCUMULATED in name}  # a run that has none begins anew
    given = sums | arrays
    if {name: array.shape for name, array in given.items()} != {name: array.shape for name, array in wanted.items()}:
        raise ArtifactError(f"{directory.training} does not fit the network; remove it and start again")
    run.restore(arrays)


def _of(arrays: Arrays, kind: str) -> Arrays:
    return {name.removeprefix(kind): array for name, array in arrays.items() if name.startswith(kind)}


def _whole(paths: list[Path], tell: Callable[[str], None]) -> tuple[dict, Arrays]:
    """Header and arrays of the first that is not damaged."""
    *newer, last = paths
    for path in newer:
        try:
            return _loaded(path)
        except ArtifactError:
            tell(f"{path} is damaged; going on from the checkpoint before it")
    return _loaded(last)


def _loaded(path: Path) -> tuple[dict, Arrays]:
    data = path.read_bytes()
    end = len(data) - len(MARK) - hashlib.sha256().digest_size
    marked = data[end:].startswith(MARK)
    try:
        if marked and hashlib.sha256(memoryview(data)[:end]).digest() != data[end + len(MARK) :]:
            raise ValueError("its bytes are not those that were written")
        with np.load(io.BytesIO(data), allow_pickle=False) as saved:
            header = json.loads(saved["header"].tobytes())
            arrays = {name: saved[name] for name in sorted(saved.files) if name != "header"}
        if not marked and _of(arrays, VARIABLE):
            raise ValueError("its digest is not there")
    except Exception as error:  # half a zip raises whatever its reader did not think of
        raise ArtifactError(f"{path} is damaged; remove {path.parent} and start again") from error
    return header, arrays
