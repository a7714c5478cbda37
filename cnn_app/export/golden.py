"""Images and answers that travel with an exported file, so that any machine can tell whether it computes the same.

photos-int8.golden.npz lies beside photos-int8.tflite, assets.extra/golden.npz inside a SavedModel. It holds `images`,
uint8 (n, H, W, C), the file's own `scores` for them where it was exported, float32 (n, classes), those of the Keras
model, `reference`, the `tolerance` of a score on another machine, and the file's `sha256`.
"""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_app.artifacts import sha256, write_bytes
from cnn_app.errors import ArtifactError
from cnn_app.export.targets import Target
from cnn_app.runtimes import open_model

IMAGES = 8
SELFTEST = Path(__file__).with_name("selftest.py")  # runs with NumPy and an interpreter alone
EXACT, ROUNDED = 1e-4, 0.02  # of a score, in float32 and where kernels round differently
MAX_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Check:
    """An artifact against its golden answers."""

    artifact: str
    n: int
    agreement: float  # share of equal top-1 answers
    max_difference: float  # of any score
    tolerance: float
    untouched: bool  # the file is the one that was exported

    @property
    def passed(self) -> bool:
        return self.untouched and self.max_difference <= self.tolerance


def place(artifact: Path) -> Path:
    """Where the golden answers of an artifact are."""
    return artifact / "assets.extra" / "golden.npz" if artifact.is_dir() else artifact.with_suffix(".golden.npz")


def write(artifact: Path, target: Target, pixels: np.ndarray, reference: np.ndarray) -> None:
    """Ask the written artifact about the first of `pixels`; `reference` has what Keras says (n, classes)."""
    pixels = pixels[:IMAGES]
    exact = target.weights == target.activations == "float32"
    buffer, digest = io.BytesIO(), "" if artifact.is_dir() else sha256(artifact)
    np.savez(
        buffer, images=pixels, scores=open_model(artifact).predict(pixels), reference=reference[: len(pixels)],
        tolerance=np.float32(EXACT if exact else ROUNDED), sha256=np.array(digest),
    )  # fmt: skip
    write_bytes(place(artifact), buffer.getvalue())
    if artifact.suffix == ".tflite":
        write_bytes(artifact.with_name(SELFTEST.name), SELFTEST.read_bytes())


def check(artifact: str | os.PathLike[str]) -> Check:
    """Repeat the golden images. Raises ArtifactError where there are none, or the artifact cannot answer them."""
    path = Path(artifact)
    found = read(place(path))
    runtime = open_model(path)
    if runtime.image != found["images"].shape[1:]:
        raise ArtifactError(f"{path} takes images of {runtime.image}, its golden ones are "
                            f"{found['images'].shape[1:]}; export again")  # fmt: skip
    scores, expected = runtime.predict(found["images"]), found["scores"]
    if scores.shape != expected.shape:
        raise ArtifactError(f"{path} gives {scores.shape[1]} scores, its golden ones are {expected.shape[1]}")
    digest = str(found["sha256"])
    return Check(
        artifact=str(path),
        n=len(scores),
        agreement=float((scores.argmax(1) == expected.argmax(1)).mean()),
        max_difference=float(np.abs(scores - expected).max()),
        tolerance=float(found["tolerance"]),
        untouched=not digest or digest == sha256(path),
    )


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a golden file from outside."""
    if not path.is_file():
        raise ArtifactError(f"no golden answers at {path}; export writes them beside the file")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ArtifactError(f"{path} is larger than {MAX_BYTES >> 20} MiB; that is no file of ours")
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            found = {name: file[name] for name in ("images", "scores", "reference", "tolerance", "sha256")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path} is damaged: {error}; export again") from error
    if found["images"].ndim != 4 or found["scores"].ndim != 2 or len(found["scores"]) != len(found["images"]):
        raise ArtifactError(f"{path} is damaged: its arrays do not fit each other; export again")
    return found
