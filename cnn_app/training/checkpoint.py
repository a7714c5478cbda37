"""The whole state of a run on disk: weights, optimizer, random states, and where it stands."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, field

import numpy as np

from cnn_app.artifacts import ModelDir
from cnn_app.atomic import replacing
from cnn_app.errors import ArtifactError, TrainingError
from cnn_app.tensors import Arrays

STREAM = "stream/"  # in front of the names of what belongs to it


@dataclass
class Position:
    """Where a run stands. `step` counts optimizer steps from the start of the run."""

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)  # of the metrics of this epoch's steps
    best: tuple[float, ...] | None = None  # what ranks the kept checkpoint on val, the higher the better
    best_epoch: int = 0
    plateaus: int = 0  # times the rate was lowered
    waited: int = 0  # epochs since the lowest val loss
    lowest_loss: float | None = None
    history: list[dict] = field(default_factory=list)


def save(directory: ModelDir, variables: list, position: Position, settings: dict, state: Arrays) -> None:
    """Write all variables, the position and the state of the stream, as one file: either all is there or none."""
    arrays = {f"variable{i:05d}": np.asarray(variable) for i, variable in enumerate(variables)}
    arrays |= {f"{STREAM}{name}": array for name, array in state.items()}
    header = json.dumps({"position": asdict(position), "settings": settings})
    with replacing(directory.training / "state.npz") as scratch:
        with scratch.open("wb") as stream:
            np.savez(stream, header=np.frombuffer(header.encode(), np.uint8), **arrays)


def read(directory: ModelDir, settings: dict) -> tuple[Position, list[np.ndarray], Arrays]:
    """The saved position, the variables for `fill`, and the stream's state; refuse those made with other settings."""
    path = directory.training / "state.npz"
    if not path.is_file():
        raise TrainingError(
            f"nothing to resume in {directory.path}: no unfinished run was saved there; leave --resume out"
        )
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as saved:
            header = json.loads(saved["header"].tobytes())
            arrays = {name: saved[name] for name in sorted(saved.files) if name != "header"}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ArtifactError(f"{path} is damaged; remove {directory.training} and start again") from error
    changed = [name for name in settings if settings[name] != header["settings"].get(name)]
    if changed:
        old = header["settings"].get(changed[0])
        raise TrainingError(
            f"cannot resume with another {changed[0]}: it was {old!r} and is {settings[changed[0]]!r} now; "
            "use the same options, or leave --resume out to start again"
        )
    values = header["position"]
    variables = [array for name, array in arrays.items() if not name.startswith(STREAM)]
    state = {name.removeprefix(STREAM): array for name, array in arrays.items() if name.startswith(STREAM)}
    return Position(**values | {"best": values["best"] and tuple(values["best"])}), variables, state


def fill(directory: ModelDir, variables: list, arrays: list[np.ndarray]) -> None:
    """Set the variables of a stepper that was made as the one that was saved."""
    if [array.shape for array in arrays] != [tuple(variable.shape) for variable in variables]:
        raise ArtifactError(f"{directory.training} does not fit the network; remove it and start again")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
