"""The pointing game: python benchmarks/pointing.py DIR [--images 100], DIR a classifier of `shapes`.

Of drawn shapes whose corners are known, how often the largest value of each method lies on the shape (Zhang et al.,
arXiv:1608.00507, section 4.2).
"""

import argparse
import io
import time
from pathlib import Path

import measure
import numpy as np

from cnn_app.cli.view import table

SEED = 7  # of images that no training has


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--images", type=int, default=100)
    options = parser.parse_args()
    measure.quiet_tensorflow()
    from PIL import Image, ImageDraw

    import cnn_app
    from cnn_app.analysis.attribution import explained, method
    from cnn_app.analysis.ways import METHODS
    from cnn_app.data import shapes
    from cnn_app.jobs.opened import opened_as
    from cnn_app.runtimes.keras_model import KerasRuntime

    model = cnn_app.load_model(options.directory)
    _, task = opened_as(model)
    runtime, draw = KerasRuntime(task.deployed(model)), np.random.default_rng(SEED)
    hits, spent, area = dict.fromkeys(METHODS, 0), dict.fromkeys(METHODS, 0.0), 0.0
    for number in range(options.images):
        label = shapes.CLASSES[number % len(shapes.CLASSES)]
        grain, fill, corners = shapes.sketch(label, draw)
        stream, mask = io.BytesIO(), Image.new("L", (shapes.SIDE, shapes.SIDE))
        Image.fromarray(shapes.painted(grain, [(corners, fill)])).save(stream, "PNG")
        ImageDraw.Draw(mask).polygon([tuple(point) for point in corners], fill=255)
        image = task.input.load(stream.getvalue(), label)["image"]
        there = np.asarray(mask.resize(image.shape[1::-1], Image.Resampling.BOX)) > 0
        area += there.mean()
        one = explained(runtime, task, task.labels.index(label), model, None)
        for name in METHODS:
            started = time.perf_counter()
            heat = method(name)(one, image)
            spent[name] += time.perf_counter() - started
            hits[name] += bool(there[np.unravel_index(heat.argmax(), heat.shape)])
    rows = [(name, f"{hits[name] / options.images:.2f}", f"{spent[name] / options.images:.2f}") for name in METHODS]
    table(
        ["method", ">hits", ">s an image"], rows, f"{options.images} shapes of {area / options.images:.0%} of the image"
    )


if __name__ == "__main__":
    main()
