"""How many images a second the input pipeline delivers, and how many a training step takes.

JPEGs of 500x375 are drawn into a temporary folder of classes; they are in the page cache, so no disk is measured.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from unittest import mock

import measure
import numpy as np

from cnn_app.cli.view import table
from cnn_app.tasks.passes import Passes

CLASSES = 4
WIDTH, HEIGHT = 500, 375
GRAIN, QUALITY = 10, 90  # of the noise on a drawn image, and of its JPEG: photographs' bytes a pixel
STEP = "training step"


def draw(folder: Path, count: int) -> int:
    """Write `count` images into class folders; how many bytes they have on average."""
    from PIL import Image

    random = np.random.default_rng(0)
    for i in range(count):
        shapes = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        pixels = np.asarray(shapes.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(np.float32)
        pixels += random.normal(0, GRAIN, (HEIGHT, WIDTH, 1))
        place = folder / f"class{i % CLASSES}" / f"{i:05}.jpg"
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(place, quality=QUALITY)
    return sum(path.stat().st_size for path in folder.rglob("*.jpg")) // count


def competitors(folder: Path, name: str, side: int, batch: int) -> tuple[dict, dict]:
    """The calls to time, and how many images each of them handles."""
    from cnn_app.data import pipeline
    from cnn_app.jobs import train
    from cnn_app.recipe import Schedule
    from cnn_app.training import engine

    schedule = Schedule(batch=batch, augment=("flip", "crop"))
    job = train.build(name, {"image": (side, side, 3)}, str(folder), schedule)

    def read():
        return train.read(job).dataset.splits["train"]

    prepared = read()
    with mock.patch.object(pipeline, "MEMORY_SHARE", 0):
        streamed = read()
    assert prepared.inputs["image"].array is not None and streamed.inputs["image"].array is None

    def epoch(split):
        for _ in Passes(job.task, split, schedule).batches(epoch=0):
            pass

    step = engine.stepper(job.model, job.task, prepared, schedule)
    inputs, targets = next(Passes(job.task, prepared, schedule).batches(epoch=0))
    calls = {
        "first pass: check, decode, resize": read,
        "epoch from memory": lambda: epoch(prepared),
        "epoch from files": lambda: epoch(streamed),
        STEP: lambda: (step.train(inputs, targets, 1e-4), step.read()),
    }
    size = len(inputs["image"])
    delivered = pipeline.steps_per_epoch(prepared, batch) * size
    return calls, dict(zip(calls, (sum(job.dataset.counts().values()), delivered, delivered, size), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    measure.quiet_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        size = draw(Path(folder), options.images)
        calls, images = competitors(Path(folder), options.model, options.side, options.batch)
        times = measure.medians(measure.alternately(calls, options.rounds))
    rates = {name: images[name] / time * 1e3 for name, time in times.items()}
    rows = [(name, f"{rate:,.0f}", f"{rate / rates[STEP]:.1f}") for name, rate in rates.items()]
    title = (
        f"{options.images} JPEGs of {WIDTH}x{HEIGHT}, {size / 1e3:.0f} kB each; "
        f"{options.model} at {options.side}x{options.side}, batch {options.batch}"
    )
    table(["", ">images/s", ">times the training step's"], rows, title)


if __name__ == "__main__":
    main()
