"""Ten-fold cross-validation of the sentence network, as Kim (arXiv:1408.5882) measures it on MR.

python benchmarks/text_folds.py FOLDER: it has a text file for each class, a sentence a line. Fold k tests on every
tenth sentence from the k-th on and chooses its epoch on those behind them; the network and its schedule are those of
the recipe text_cnn.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

import cnn_app
from cnn_app import recipe


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoding", default="utf-8")
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the fold to begin with")
    options = parser.parse_args()
    labels, sentences, places = read(options.folder, options.encoding)
    found = []
    for fold in range(options.first, options.folds):
        start = time.perf_counter()
        metrics = measure(labels, sentences, places, np.arange(len(places)) % options.folds, fold, options.folds)
        found.append(metrics["test"]["top1"])
        print(f"fold {fold}: epoch {metrics['epoch']}, top-1 {found[-1]:.4f} of {metrics['test']['n']} in "
              f"{time.perf_counter() - start:.0f} s", flush=True)  # fmt: skip
    print(f"{len(found)} folds: {100 * np.mean(found):.2f} % ± {100 * np.std(found, ddof=1):.2f} between folds")


def read(folder, encoding):
    """Labels, and all sentences with the places of their labels, the classes one behind the other."""
    files = sorted(folder.glob("*.txt"))
    lines = [file.read_text(encoding).removesuffix("\n").split("\n") for file in files]
    sentences = np.array([line.encode() for part in lines for line in part], object)
    return [file.stem for file in files], sentences, np.repeat(np.arange(len(files)), [len(part) for part in lines])


def measure(labels, sentences, places, folds, fold, count):
    """The metrics of the network that is tested on `fold`."""
    where = {"test": folds == fold, "val": folds == (fold + 1) % count}
    where["train"] = ~(where["test"] | where["val"])
    splits = {name: (sentences[mask], places[mask]) for name, mask in where.items()}
    job = recipe.find("text_cnn")
    columns = {name: value for name, value in job.model.items() if name != "name"}
    records = cnn_app.data.arrays(splits, labels, input="tokens")
    with tempfile.TemporaryDirectory() as scratch:
        card = cnn_app.train(job.model["name"], records, scratch, columns=columns, schedule=job.schedule)
    return card.metrics


if __name__ == "__main__":
    main()
