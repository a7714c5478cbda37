"""An autoencoder against principal components of as many numbers, on the same test images.

python benchmarks/pca.py DIR --data-dir tfds/: DIR is a model directory of the task reconstruction, whose data its card
names. The components are those of all images that the network learned from or was chosen by, train and val.
"""

import argparse
import time

import numpy as np
from sklearn.decomposition import PCA

import cnn_app
from cnn_app.artifacts import ModelDir
from cnn_app.data.pipeline import gathered
from cnn_app.jobs import sources
from cnn_app.jobs.evaluate import answers
from cnn_app.recipe import Data
from cnn_app.runtimes import open_model


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("directory")
    parser.add_argument("--data-dir")
    options = parser.parse_args()
    directory = ModelDir(options.directory)
    known = sources.trained_on(directory)
    task, dataset = sources.for_model(directory, Data(source=known.source, directory=options.data_dir))
    images = {name: gathered(split)[0]["image"] for name, split in dataset.splits.items()}
    learned, test = (flat(part) for part in (np.concatenate([images["train"], images["val"]]), images["test"]))
    runtime, start = open_model(directory.path), time.perf_counter()
    mse = task.measure(answers(runtime, task, dataset.splits["test"], (), [])).metrics["mse"]
    numbers = runtime.outputs["code"].shape[-1]
    pca = PCA(numbers, random_state=0).fit(learned)
    peer = float(np.square(pca.inverse_transform(pca.transform(test)) - test).mean())
    print(f"squared error of {len(test):,} test images, codes of {numbers} numbers")
    print(f"{directory.name}: {mse:.5f}")
    print(f"PCA of {len(learned):,} images: {peer:.5f}")
    print(f"{1 - mse / peer:.1%} less than PCA's; cnn_app {cnn_app.__version__}, {time.perf_counter() - start:.0f} s")


def flat(images):
    return images.reshape(len(images), -1).astype(np.float32) / 255


if __name__ == "__main__":
    main()
