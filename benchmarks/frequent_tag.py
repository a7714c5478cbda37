"""What tagging is worth without looking around: each word gets the tag that it has most often in training.

python benchmarks/frequent_tag.py FOLDER [--split test]: CoNLL files, as `train window_tagger --data FOLDER` reads them.
A word that training does not have gets the most frequent tag of all; lower-cased words are looked up where the word as
it is written is not known. The tags are repaired and counted as a network's are.
"""

import argparse
from collections import Counter, defaultdict

import numpy as np

from cnn_app import registry, tasks
from cnn_app.recipe import Data
from cnn_app.tasks.bio import ABSENT, scheme
from cnn_app.tasks.tag_report import Report


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--encoding", default="utf-8")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    options = parser.parse_args()
    task = tasks.of_row(registry.spec("window_tagger"), {}, {})
    dataset = task.load(Data(source=options.folder, encoding=options.encoding))
    report = measured(dataset, options.split)
    print("  ".join(f"{task.titles[name]} {report.metrics[name]:.4f}" for name in task.titles if name != "loss"),
          f" of {report.n:,} sentences")  # fmt: skip


def measured(dataset, name):
    """The report of the most frequent tags on a split of a raw data set."""
    words, tags = columns(dataset.splits["train"])
    by_word, by_lower, every = defaultdict(Counter), defaultdict(Counter), Counter()
    for sentence, places in zip(words, tags, strict=True):
        for word, tag in zip(sentence, places, strict=False):
            for counter in (by_word[word], by_lower[word.lower()], every):
                counter[int(tag)] += 1

    def of(word):
        found = by_word.get(word) or by_lower.get(word.lower()) or every
        return max(found, key=lambda tag: (found[tag], -tag))

    words, wanted = columns(dataset.splits[name])
    found = np.full_like(wanted, ABSENT)
    for row, sentence in zip(found, words, strict=True):
        row[: len(sentence)] = [of(word) for word in sentence[: len(row)]]
    sure = np.ones(wanted.shape, np.float32)
    return Report(scheme(dataset.labels).repaired(found), wanted, sure, sure, dataset.labels)


def columns(split):
    return [sentence.decode().split(" ") for sentence in split.inputs["words"].array], split.targets["tags"].array


if __name__ == "__main__":
    main()
