"""Images a second from JPEGs of 1,000 pixels: whole and resized, or a random crop that is decoded as far as needed.

python benchmarks/random_crop.py [FOLDER]

The JPEGs of FOLDER are enlarged or reduced to 1,000 pixels; without one, images are drawn.
"""

import argparse
import io
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from PIL import Image

from cnn_app.cli.view import table
from cnn_app.inputs import pixels, sampling
from cnn_app.inputs.image import Image as Input
from cnn_app.inputs.image_files import image_files

LONG, GRAIN, QUALITY, DRAWN = 1000, 3, 88, 60  # about a byte for six pixels, as photographs have
ROUNDS, REPEATED = 5, 4
SIDE = 224


def jpegs(folder: Path | None) -> list[bytes]:
    random, found = np.random.default_rng(0), []
    for file in image_files(folder) if folder else range(DRAWN):
        drawn = Image.fromarray(random.integers(0, 256, (48, 64, 3), dtype=np.uint8))
        image = Image.open(file).convert("RGB") if folder else drawn
        sides = [round(LONG * side / max(image.size)) for side in image.size]
        array = np.asarray(image.resize(sides, Image.Resampling.BICUBIC)).astype(np.float32)
        array += random.normal(0, GRAIN, array.shape)
        out = io.BytesIO()
        Image.fromarray(np.clip(array, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=QUALITY)
        found.append(out.getvalue())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    data, input = jpegs(parser.parse_args().folder) * REPEATED, Input((SIDE, SIDE, 3))

    def whole(data, _):
        return pixels.sized(data, input)

    def cropped(data, number):
        return sampling.resized_crop(data, input, tf.stack([0, number]))

    records = tf.data.Dataset.from_tensor_slices((data, np.arange(len(data))))
    ways = {"whole, resized": whole, "random crop": cropped}
    pipelines, spent = {name: records.map(way, tf.data.AUTOTUNE).batch(32) for name, way in ways.items()}, {}
    for _ in range(ROUNDS):
        for name, pipeline in pipelines.items():
            start = time.process_time()
            for _ in pipeline:
                pass
            spent.setdefault(name, []).append((time.process_time() - start) / len(data))
    least = {name: min(times) for name, times in spent.items()}
    rows = [
        (name, f"{1000 * seconds:.2f}", f"{least['whole, resized'] / seconds:.2f}") for name, seconds in least.items()
    ]
    table(["", ">ms of a core an image", ">times as many"], rows)


if __name__ == "__main__":
    main()
