"""A network for captions against what needs no image, by the same words and the same scorer, on the same test images.

python benchmarks/caption_baselines.py DIR --data FOLDER: DIR is a model directory of the task captioning. The constant
caption is one of train's: the one of the highest BLEU-4 on images of train, and the one that fits the test images best,
which nobody could know. The unigram model knows how often each word comes in train, with one more of each.
"""

import argparse
from collections import Counter

import numpy as np

import cnn_app
from cnn_app.artifacts import ModelDir
from cnn_app.jobs import sources
from cnn_app.recipe import Data
from cnn_app.runtimes import open_model
from cnn_app.tasks import caption_words
from cnn_app.tasks.caption_report import bleu
from cnn_app.training.engine import measure

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
    for what, wanted in (("train", train), ("the test itself", test)):
        best = best_constant(pool, wanted)
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


def best_constant(pool, wanted):
    """The caption of the highest BLEU-4 where it is said of every image."""
    there = Counter()  # (words, k) -> images of which a caption has them k times or more
    for captions in wanted:
        most = Counter()
        for caption in captions:
            most |= Counter(runs(caption))
        there.update((run, k) for run, count in most.items() for k in range(1, count + 1))
    lengths = [[len(caption.split()) for caption in captions] for captions in wanted]

    def score(caption):
        own, n = Counter(runs(caption)), len(caption.split())
        logs = []
        for order in range(1, 5):
            right = sum(there[run, k] for run, count in own.items() if len(run) == order for k in range(1, count + 1))
            logs.append(np.log(right / (len(wanted) * (n - order + 1))) if right else -np.inf)
        closest = sum(min(several, key=lambda length: (abs(length - n), length)) for several in lengths)
        return np.mean(logs) + min(0.0, 1 - closest / (n * len(wanted)))

    return max(pool, key=score)


def runs(caption):
    """One to four words that stand behind each other."""
    words = caption.split()
    return [tuple(words[i : i + order]) for order in range(1, 5) for i in range(len(words) - order + 1)]


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
