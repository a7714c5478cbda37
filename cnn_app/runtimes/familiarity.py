"""How far a record is from what a network learned from, by the features that its head sees.

The distance is Mahalanobis's to the nearest class, with a covariance that all classes share (Lee et al.,
arXiv:1807.03888), of the features' square roots, which are closer to normal (Tukey's ladder, arXiv:2101.06395). Along
all but the principal axes it is the same. What is farther than nearly all of val is unlike the training data.

In a model directory familiarity.npz holds the numbers and the digest of the model that they are of: one that a killed
run left behind fits no other model, and is as good as none.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import asdict, dataclass, fields

import numpy as np

from cnn_app.artifacts import ModelDir
from cnn_app.atomic import replacing
from cnn_app.errors import ArtifactError, first_line

MODEL = "model_sha256"  # in the file
TOLD = ("unlike", "distance", "threshold")
MAX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Familiarity:
    """Of features (n, d), float32: numbers are of their square roots, with the sign."""

    centre: np.ndarray  # (d,), of all classes
    means: np.ndarray  # (classes, d), from the centre
    axes: np.ndarray  # (q, d), orthonormal
    deviations: np.ndarray  # (q,), along the axes
    rest: np.ndarray  # (), the deviation along every other direction
    threshold: np.ndarray  # ()

    def told(self, features) -> dict:
        """`unlike` (n,), whether `distance` (n,) is above `threshold` (n,), of arrays or of tensors in a graph."""
        from keras import ops

        roots = ops.sign(features) * ops.sqrt(ops.abs(features))
        centred, axes = ops.subtract(roots, self.centre), self.axes.T
        along, known = ops.matmul(centred, axes), self.means @ axes
        across = ops.maximum(_squares(centred, self.means) - _squares(along, known), 0)
        squares = _squares(along / self.deviations, known / self.deviations) + across / self.rest**2
        distance = ops.sqrt(ops.maximum(ops.min(squares, 1), 0))
        return {"unlike": distance > self.threshold, "distance": distance,
                "threshold": ops.full_like(distance, self.threshold)}  # fmt: skip


def _squares(features, means):
    """Squared distances (n, classes)."""
    from keras import ops

    lengths = ops.sum(ops.square(features), 1, keepdims=True)
    return lengths + np.sum(np.square(means), 1) - 2 * ops.matmul(features, means.T)


def averaged(activations: np.ndarray) -> np.ndarray:
    """(n, ..., channels) -> (n, channels): the mean over positions."""
    return activations.reshape(len(activations), -1, activations.shape[-1]).mean(1)


def write(directory: ModelDir, known: Familiarity | None, model_sha256: str) -> None:
    """Beside the model with this digest; nothing where nothing is known."""
    if known is None:
        directory.familiarity.unlink(missing_ok=True)
        return
    with replacing(directory.familiarity) as scratch, scratch.open("wb") as stream:
        np.savez(stream, **asdict(known), **{MODEL: np.array(model_sha256)})


def read(directory: ModelDir) -> Familiarity | None:
    """What is known of the model that the card is of, if anything. Raises ArtifactError where that is damaged."""
    path = directory.familiarity
    if not path.is_file() or not directory.card.is_file():
        return None
    try:
        data = path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                raise ValueError(f"it unpacks to more than {MAX_BYTES >> 20} MiB")
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            if str(file[MODEL]) != directory.read_card().digests.get("model.keras"):
                return None
            found = Familiarity(**{item.name: file[item.name] for item in fields(Familiarity)})
        _check(found)
        return found
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path} is damaged: {first_line(error)}; copy it again, or remove it: then nothing is "
                            "told of how familiar a record is") from error  # fmt: skip


def _check(found: Familiarity) -> None:
    (width, *_), kept = found.centre.shape or (0,), found.deviations.shape[:1]
    wanted = {"centre": (width,), "means": (*found.means.shape[:1], width), "axes": (*kept, width), "deviations": kept,
              "rest": (), "threshold": ()}  # fmt: skip
    for name, shape in wanted.items():
        array = getattr(found, name)
        if array.dtype != np.float32 or array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f"{name} is {array.dtype} {array.shape}, or not finite")
    if not (len(found.means) and found.rest > 0 and (found.deviations > 0).all()):
        raise ValueError("it has no class, or a deviation that is not above 0")
