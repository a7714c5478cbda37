"""What published weights say to images that are stretched, cropped or padded to the network's size.

python benchmarks/resize.py FOLDER NAME WEIGHTS [-c COLUMN=VALUE]

FOLDER has index.tsv with a line of WordNet id, place among ImageNet's 1,000 classes and name for each image, whose
file begins with that id.
"""

import argparse
import csv
import os
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import cnn_app
from cnn_app.cli.options import Column
from cnn_app.cli.view import table
from cnn_app.inputs.image import Image
from cnn_app.registry import RESIZES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("weights")
    parser.add_argument(
        "-c", "--column", action="append", default=[], type=lambda text: Column().convert(text, None, None)
    )
    options = parser.parse_args()
    with (options.folder / "index.tsv").open(encoding="utf-8") as file:
        classes = {row[0]: int(row[1]) for row in csv.reader(file, delimiter="\t") if row[1].isdigit()}
    files = sorted(path for path in options.folder.iterdir() if path.name.split("_")[0] in classes)
    places = np.array([classes[path.name.split("_")[0]] for path in files])
    model = cnn_app.create_model(options.name, weights=options.weights, **dict(options.column))
    rows = []
    for resize in RESIZES:
        taken = replace(Image(tuple(model.input_shape[1:])), resize=resize)
        pixels = np.stack([taken.load(path.read_bytes(), path.name)["image"] for path in files])
        order = np.argsort(-model.predict(pixels.astype(np.float32), verbose=0), 1)[:, :5] == places[:, None]
        rows.append((options.name, resize, f"{order[:, 0].mean():.4f}", f"{order.any(1).mean():.4f}", len(files)))
    table(["network", "resize", ">top-1", ">top-5", ">images"], rows)


if __name__ == "__main__":
    main()
