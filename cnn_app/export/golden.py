"""Records and answers that travel with an exported file, so that any machine can tell whether it computes the same.

photos-int8.golden.npz lies beside photos-int8.tflite, assets.extra/golden.npz inside a SavedModel. For every tensor it
holds `input/NAME`, the file's own `output/NAME` where it was exported and the Keras model's `reference/NAME`, then the
`tolerance` of a number on another machine and the `sha256` of the file, or of a SavedModel without this one.
"""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_app import tasks
from cnn_app.artifacts import model_dir_of, sha256
from cnn_app.atomic import write_bytes
from cnn_app.errors import ArtifactError
from cnn_app.export.targets import Target
from cnn_app.runtimes import Runtime, open_foreign, open_model
from cnn_app.tensors import Arrays

RECORDS = 8
SELFTEST = Path(__file__).with_name("selftest.py")  # runs with NumPy and an interpreter alone
EXACT, ROUNDED = 1e-4, 0.02  # of a number, in float32 and where kernels round differently
MAX_BYTES = 256 * 2**20
EXTRA = "assets.extra"  # of a SavedModel: what is written beside the graph


@dataclass(frozen=True)
class Check:
    """An artifact against its golden answers."""

    artifact: str
    n: int
    agreement: float  # share of equal decisions
    max_difference: float  # of any number
    tolerance: float
    untouched: bool  # the file is the one that was exported
    stale: bool = False  # it was exported of another model than its directory has now

    @property
    def passed(self) -> bool:
        return self.untouched and not self.stale and self.max_difference <= self.tolerance


def place(artifact: Path) -> Path:
    """Where the golden answers of an artifact are."""
    return artifact / EXTRA / "golden.npz" if artifact.is_dir() else artifact.with_suffix(".golden.npz")


def answers(artifact: Path, target: Target, inputs: Arrays, reference: Arrays) -> bytes:
    """The golden file of a written artifact: its answers to the first of `inputs`; `reference` has what Keras says."""
    inputs = _first(inputs)
    exact = target.weights == target.activations == "float32"
    arrays = {f"input/{name}": array for name, array in inputs.items()}
    arrays |= {f"output/{name}": array for name, array in open_model(artifact).run(inputs).items()}
    arrays |= {f"reference/{name}": array for name, array in _first(reference).items()}
    buffer = io.BytesIO()
    np.savez(buffer, tolerance=np.float32(EXACT if exact else ROUNDED), sha256=np.array(digest(artifact)), **arrays)
    return buffer.getvalue()


def write(artifact: Path, data: bytes) -> None:
    """Put a golden file where it belongs, and the self-test beside the files that phones get."""
    write_bytes(place(artifact), data)
    if artifact.suffix == ".tflite":
        write_bytes(artifact.with_name(SELFTEST.name), SELFTEST.read_bytes())


def digest(artifact: Path) -> str:
    """SHA-256 of a file, or of what a SavedModel consists of, which is all but what lies in `assets.extra`."""
    return sha256(artifact, leaving=EXTRA)


def check(artifact: str | os.PathLike[str], *, trust: bool = False) -> Check:
    """Repeat the golden answers. Raises ArtifactError where there are none, or the artifact cannot give them.

    trust: without the limits of files from elsewhere.
    """
    path = Path(artifact)
    runtime = open_foreign(path, trust=trust)
    found = read(place(path), runtime)
    inputs, expected = _part(found, "input"), _part(found, "output")
    for name, spec in runtime.inputs.items():
        if name not in inputs or not spec.fits(inputs[name].shape):
            received = {name: array.shape for name, array in inputs.items()}
            raise ArtifactError(f"{path} takes {name} {spec}, its golden answers are of {received}; export again")
    given = runtime.run(inputs)
    for name, array in given.items():
        if name not in expected or array.shape != expected[name].shape:
            raise ArtifactError(f"{path} gives {name} {array.shape}, its golden answers do not; export again")
    known, directory = str(found["sha256"]), model_dir_of(path)
    exported_of = runtime.about.model_sha256 if runtime.about else ""
    return Check(
        artifact=str(path),
        n=len(next(iter(given.values()))),
        agreement=tasks.of(runtime).agreement(given, expected),
        max_difference=max_difference(given, expected),
        tolerance=float(found["tolerance"]),
        untouched=not known or known == digest(path),
        stale=directory is not None and directory.is_stale(exported_of),
    )


def max_difference(found: Arrays, wanted: Arrays) -> float:
    """Of any number of any output that is wanted."""
    return max(float(np.abs(found[name].astype(np.float64) - array).max()) for name, array in wanted.items())


def read(path: Path, runtime: Runtime | None = None) -> dict[str, np.ndarray]:
    """The arrays of a golden file from outside; those of 0.1.0 get the names of the tensors of `runtime`."""
    if not path.is_file():
        raise ArtifactError(f"no golden answers at {path}; export writes them beside the file")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ArtifactError(f"{path} is larger than {MAX_BYTES >> 20} MiB; that is no file of ours")
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        if "pictures" in found and runtime is not None:
            taken, given = next(iter(runtime.inputs)), next(iter(runtime.outputs))
            found |= {f"input/{taken}": found["pictures"], f"output/{given}": found["scores"]}
        counts = {len(array) for name, array in found.items() if name.startswith(("input/", "output/"))}
        if not {"tolerance", "sha256"} <= set(found) or len(counts) > 1:
            raise ValueError("its arrays do not fit each other")
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path} is damaged: {error}; export again") from error
    return found


def _part(found: Arrays, kind: str) -> Arrays:
    return {name.partition("/")[2]: array for name, array in found.items() if name.startswith(f"{kind}/")}


def _first(arrays: Arrays) -> Arrays:
    return {name: array[:RECORDS] for name, array in arrays.items()}
