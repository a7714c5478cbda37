"""A network for captions against what needs no image, by the same words and the same scorer, on the same test images.

python benchmarks/caption_baselines.py DIR --data FOLDER: DIR is a model directory of the task captioning. The constant
caption is one of train's: the one of the highest BLEU-4 on images of train, and the one that fits the test images best,
which nobody could know. The unigram model knows how often each word comes in train, with one more of each.
"""

import argparse

import numpy as np

import cnn_app
from cnn_app.artifacts import ModelDir
from cnn_app.jobs import sources
from cnn_app.recipe import Data
from cnn_app.runtimes import open_model
from cnn_app.tasks import caption_words
from cnn_app.tasks.caption_report import bleu
from cnn_app.training.engine import measure

IMAGES = 100  # of train, by which a constant caption is chosen
DRAWS = 10  # random captions for each image


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("directory")
    parser.add_argument("--data", required=True)
    options = parser.parse_args()
    directory = ModelDir(options.directory)
    task, dataset = sources.for_model(directory, Data(source=options.data))
    texts = {name: dataset.splits[name].targets["captions"].array for name in ("train", "test")}
    train, test = (caption_words.each(texts[name]) for name in ("train", "test"))
    pool = sorted({caption for captions in train for caption in captions})
    rng = np.random.default_rng(0)
    rows = [("random captions of train, mean of 10", mean_of(lambda: rng.choice(pool, len(test)).tolist(), test))]
    chosen = rng.permutation(len(train))[:IMAGES]
    for what, wanted in (("train", [train[i] for i in chosen]), ("the test itself", test)):
        best = max(pool, key=lambda caption: bleu([caption] * len(wanted), wanted)[-1])
        rows.append((f"constant, best on {what}: {best!r}", bleu([best] * len(test), test)))
    found = measure(task, task.measured(open_model(directory.path)), dataset.splits["test"]).metrics
    rows.append((directory.name, [found[f"bleu{n}"] for n in range(1, 5)]))
    print(
        f"{len(test):,} test images, {sum(map(len, test)):,} captions; BLEU-1 to BLEU-4; cnn_app {cnn_app.__version__}"
    )
    for what, values in rows:
        print("  ".join(f"{value:.4f}" for value in values), what)
    print(f"{found['bleu4_beam3']:.4f} BLEU-4 of {directory.name} by a beam of 3")
    print(
        f"perplexity of a word: {found['perplexity']:.1f} of {directory.name}, {unigrams(task, texts):.1f} of unigrams"
    )


def mean_of(draw, test):
    return np.mean([bleu(draw(), test) for _ in range(DRAWS)], 0)


def unigrams(task, texts):
    """Perplexity of the test captions by the counts of the words, and of ends, in those of train."""
    table = caption_words.Table(task.labels, task.length)
    words = {name: table.ids(b"\n".join(several).split(b"\n")).numpy() for name, several in texts.items()}
    counted = {name: ids[np.asarray(caption_words.counted(ids)) > 0] for name, ids in words.items()}
    counts = np.bincount(counted["train"], minlength=len(task.labels)) + 1
    return float(np.exp(-np.log(counts / counts.sum())[counted["test"]].mean()))


if __name__ == "__main__":
    main()
