"""What an autoencoder makes of its codes, as sheets of pictures."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from cnn_app.artifacts import ModelDir
from cnn_app.atomic import check_place
from cnn_app.data import Records, pipeline
from cnn_app.data.dataset import Split
from cnn_app.errors import ModelError
from cnn_app.heads.reconstruction import is_variational
from cnn_app.inputs.files import content
from cnn_app.jobs import sources
from cnn_app.recipe import Data
from cnn_app.runtimes import in_batches
from cnn_app.runtimes.keras_model import load
from cnn_app.tasks.reconstruction_pictures import Cell, as_pixels, draw_rows
from cnn_app.tasks.reconstruction_report import squared

STEPS = 9  # between two images
ROWS = 6  # of samples
LINES = 2  # of images and their reconstructions, as many with the largest errors


def reconstruct(
    directory: str | os.PathLike[str], out: str | os.PathLike[str], data: str | Data | Records | None = None, *,
    between: tuple[str, str] | None = None, n: int = 10, seed: int = 0, progress: pipeline.Progress | None = None,
) -> list[Path]:  # fmt: skip
    """Write sheets of pictures into the folder `out`; where they are is returned.

    reconstructions.png: images of the test split above what the decoder makes of their codes, drawn by `seed` and
    those with the largest errors. interpolation.png: what it makes of codes on the line between those of two images.
    samples.png: of codes from the prior, where there is one.

    directory: a model directory of an autoencoder.
    data: as in `train`; by default what the model was trained on.
    between: two files; by default the first two images of reconstructions.png.
    n: images in a row.

    Raises ModelError for a model that decodes nothing, DataError for files that are no images.
    """
    model, place = load(directory), Path(out)
    check_place(place / "reconstructions.png")
    task, dataset = sources.for_model(ModelDir(directory), data, progress)
    parts = task.parts(model)
    if not {"encode", "decode"} <= set(parts):
        raise ModelError(f"{directory} is a model for {task.name}, which decodes nothing; train autoencoder or vae")
    ends = [task.input.load(content(Path(file)), file)["image"] for file in between or ()]
    encode, decode = (_function(parts[name]) for name in ("encode", "decode"))
    random, name = np.random.default_rng(seed), ModelDir(directory).name
    split = dataset.splits["test"]
    order = random.permutation(len(split))[: n * LINES]
    chosen = _images(split.take(order))
    found = decode(encode(chosen))
    worst, errors = _worst(split, lambda pixels: decode(encode(pixels)), n * LINES)
    far = _images(split.take(worst))
    title = f"{name}: images of test above their reconstructions, with the squared error of {len(split):,}: "
    draw_rows([*_pairs("drawn", chosen, found, n), *_pairs("worst", far, decode(encode(far)), n)],
              f"{title}{errors.mean():.4f}", written := place / "reconstructions.png")  # fmt: skip
    files = [written]
    ends = ends or [chosen[0], chosen[min(1, len(chosen) - 1)]]
    files.append(place / "interpolation.png")
    _draw_between(np.stack(ends), encode, decode, f"{name}: codes between those of two images", files[-1])
    if is_variational(model):
        codes = random.standard_normal((ROWS * n, *parts["decode"].input_shape[1:]), np.float32)
        cells: list[Cell] = [(pixels, "") for pixels in as_pixels(decode(codes))]
        rows = [("", cells[start : start + n]) for start in range(0, len(cells), n)]
        files.append(place / "samples.png")
        draw_rows(rows, f"{name}: decoded draws from the prior", files[-1])
    return files


def _function(part: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Of one array to one array."""

    def call(arrays):
        (found,) = part.predict_on_batch(arrays["it"]).values()
        return {"it": np.asarray(found)}

    return lambda array: in_batches(call, {"it": array})["it"]


def _images(split: Split) -> np.ndarray:
    return pipeline.gathered(split)[0]["image"]


def _worst(split: Split, through: Callable[[np.ndarray], np.ndarray], most: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the images with the largest errors, the largest first, and the errors of all."""
    errors = np.concatenate([squared(through(inputs["image"]), inputs["image"] / 255)
                             for inputs, _ in pipeline.arrays(split, 64)])  # fmt: skip
    return np.argsort(-errors, kind="stable")[:most], errors


def _pairs(name: str, images: np.ndarray, found: np.ndarray, n: int) -> list[tuple[str, list[Cell]]]:
    """Rows of `n` images, each above a row of what was made of them."""
    errors, rows = squared(found, images / 255), []
    for start in range(0, len(images), n):
        here = slice(start, start + n)
        rows.append((name, [(image, "") for image in images[here]]))
        told = [f"{error:.4f}" for error in errors[here]]
        rows.append(("reconstructed", list(zip(as_pixels(found[here]), told, strict=True))))
    return rows


def _draw_between(ends: np.ndarray, encode, decode, title: str, path: Path) -> None:
    first, last = encode(ends)
    shares = np.linspace(0, 1, STEPS, dtype=np.float32)
    decoded = as_pixels(decode(first + shares[:, None] * (last - first)))
    middle = [(pixels, f"{share:.0%}") for pixels, share in zip(decoded, shares, strict=True)]
    draw_rows([("", [(ends[0], "image"), *middle, (ends[1], "image")])], title, path)
