"""What an agent does: episodes, and one of them as a film."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cnn_app import heads
from cnn_app.atomic import check_place, replacing
from cnn_app.errors import DataError, ModelError
from cnn_app.jobs.opened import Artifact, opened_as
from cnn_app.tasks.playing import act_by, filmed, play

FRAMES_PER_S = 30
LEAST_SIDE = 168  # of a film's pictures: smaller ones are enlarged by whole numbers
MOST_PICTURES = 2000  # of a film


@dataclass(frozen=True)
class Played:
    seed: int
    total: float  # sum of rewards
    length: int  # steps


def played(
    artifact: Artifact, episodes: int = 10, seed: int = 0, out: str | os.PathLike[str] | None = None, *,
    trust: bool = False,
) -> list[Played]:  # fmt: skip
    """Episodes with the seeds from `seed` on; the first of them as an animated GIF at `out`.

    artifact: as in `predict`, of a network for control.

    Raises ModelError for other networks, DataError for an environment that is not there or draws no pictures.
    """
    runtime, task = opened_as(artifact, trust)
    environment = getattr(task, "environment", "")
    if not environment:
        raise ModelError(f"{runtime.path} is for {task.name} and acts nowhere; train dqn or dqn_mlp")
    act = act_by(runtime, heads.named(task.name).OUTPUTS[0])
    if out is not None:
        check_place(Path(out))
        _write(filmed(act, environment, seed).pictures, Path(out), environment)
    return [Played(one.seed, one.total, one.length) for one in play(act, environment, [*range(seed, seed + episodes)])]


def _write(pictures: Sequence[np.ndarray], path: Path, environment: str) -> None:
    """An animated GIF, as many pictures of it as there may be."""
    if pictures[0].ndim != 3 or pictures[0].dtype != np.uint8:
        raise DataError(f"{environment} draws no pictures; leave out --out")
    times = max(1, -(-LEAST_SIDE // min(pictures[0].shape[:2])))
    frames = [Image.fromarray(picture.repeat(times, 0).repeat(times, 1)) for picture in pictures[:MOST_PICTURES]]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=1000 // FRAMES_PER_S, loop=0)
    with replacing(path) as scratch:
        scratch.write_bytes(out.getvalue())
