"""Epochs of a pack against epochs of the JPEGs that it was made of, the memory that each holds, and a second start.

JPEGs of 500x375 are drawn into a temporary folder; they are in the page cache, so no disk is measured. With --starts N
a folder of N JPEGs of 32x32 is made, and three trainings begin on it, each a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import input_pipeline
import numpy as np

from cnn_app.cli.view import table

FIRST = """
import sys, time
from cnn_app.jobs import rehearsal, train
from cnn_app.recipe import Schedule
job = train.plan("resnet20", {"image": (32, 32, 3)}, sys.argv[1], Schedule(batch=64))
rehearsal.dry_run(job)
"""


def held() -> tuple[float, float]:
    """MiB of memory that this process holds alone, and that it has mapped of files."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))


def epochs(source: str, side: int, batch: int, turns: int) -> None:
    """Print images a second of each epoch, and the most memory that was held, as JSON; the child's part."""
    from cnn_app.data import pipeline
    from cnn_app.inputs.image import Image
    from cnn_app.jobs import sources
    from cnn_app.recipe import Data
    from cnn_app.tasks.classification import Classification

    task, data = Classification(input=Image((side, side, 3))), Data(source=source)
    with mock.patch.object(pipeline, "MEMORY_SHARE", 0):
        split = sources.prepared(task, task.load(data), data).splits["train"]
        before, rates, most = held(), [], [0.0, 0.0]
        for epoch in range(turns):
            start, count = time.perf_counter(), 0
            for inputs, _ in pipeline.training_batches(split, batch, lambda *record: record[:2], seed=0, epoch=epoch):
                count += len(inputs["image"])
                if count // batch % 4 == 0:
                    most = list(map(max, most, held()))
            rates.append(count / (time.perf_counter() - start))
    print(json.dumps({"rates": rates, "before": before, "most": most}))


def compare(count: int, side: int, batch: int, turns: int) -> None:
    from cnn_app.jobs.pack import pack

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "photos")
        folder.mkdir()
        input_pipeline.draw(folder, count)
        start = time.perf_counter()
        packed = pack(str(folder), Path(place, "photos.pack"), columns={"image": (side, side, 3)})
        seconds = time.perf_counter() - start
        rows = []
        for source in (folder, Path(place, "photos.pack"), folder, Path(place, "photos.pack")):
            words = [
                sys.executable,
                __file__,
                "--epochs-of",
                str(source),
                "--side",
                side,
                "--batch",
                batch,
                "--turns",
                turns,
            ]
            done = subprocess.run([*map(str, words)], stdout=subprocess.PIPE, check=True, env=os.environ)
            told = json.loads(done.stdout.splitlines()[-1])
            rows.append((source.name, f"{np.median(told['rates']):,.0f}", f"{told['before'][0]:,.0f}",
                         f"{told['most'][0]:,.0f}", f"{told['most'][1]:,.0f}"))  # fmt: skip
    title = f"{count} images, packed in {seconds:.1f} s into {packed['bytes'] / 2**30:.2f} GiB"
    table(["epochs of", ">images/s", ">MiB before", ">MiB at most", ">MiB of files mapped"], rows, title)


def starts(count: int) -> None:
    from PIL import Image

    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        for number in range(count):
            folder = Path(place, "photos", f"class{number % 10}", f"{number // 10 % 100:02}")
            folder.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 256, (4, 4, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            Image.fromarray(pixels).save(folder / f"{number:06}.jpg")
        env = os.environ | {"CNN_APP_CACHE": str(Path(place, "cache")), "TF_CPP_MIN_LOG_LEVEL": "3"}
        rows = []
        for which in ("first", "second", "third"):
            before, start = os.times(), time.perf_counter()
            subprocess.run([sys.executable, "-c", FIRST, str(Path(place, "photos"))], check=True, env=env)
            seconds, after = time.perf_counter() - start, os.times()
            used = after.children_user + after.children_system - before.children_user - before.children_system
            rows.append((which, f"{seconds:.1f}", f"{used:.1f}"))
    table(["start", ">s to the first step", ">s of CPU"], rows, f"{count:,} JPEGs of 32x32, from the start of Python")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--starts", type=int, help="Images to start on, in the place of epochs.")
    parser.add_argument("--epochs-of", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.epochs_of:
        epochs(given.epochs_of, given.side, given.batch, given.turns)
    elif given.starts:
        starts(given.starts)
    else:
        compare(given.images, given.side, given.batch, given.turns)


if __name__ == "__main__":
    main()
