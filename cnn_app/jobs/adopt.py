"""A Keras classifier that others made becomes a model directory, which every other command takes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import keras

from cnn_app import tasks
from cnn_app.artifacts import Card, ModelDir, sha256
from cnn_app.errors import ModelError
from cnn_app.jobs.evaluate import check_distinct
from cnn_app.registry import STRETCH
from cnn_app.runtimes.keras_model import card_about, load, save
from cnn_app.training.records import versions
from cnn_app.transfer.adoption import ARCHITECTURE, Adopted, adopted


def adopt(
    model: str | os.PathLike[str] | keras.Model, labels: Sequence[str], out: str | os.PathLike[str], *,
    image: tuple[int, int] | None = None, pixels: str | None = None, scores: str | None = None,
    resize: str = STRETCH, trust: bool = False,
) -> Card:  # fmt: skip
    """Write the model directory `out` of a classifier of images that others made; its card is returned.

    model: a .keras file, or a Keras model; all of its layers are Keras's own, for code is not run from files.
    labels: names of the classes, in the order of the scores.
    image: height and width, for a network that takes any.
    pixels: what it was trained on, where it has no layer that scales them: "0..255", "0..1", "-1..1", "imagenet"
        ([0, 1] by ImageNet's mean and standard deviation), or "caffe" (blue first, without a mean).
    scores: "logits" or "probabilities", where the last layer does not tell.
    resize: "stretch", "crop" or "pad": how images are brought to its size.
    trust: read the file without the limits of files from elsewhere, but for code.

    Raises ModelError for what is no such classifier, ArtifactError for a file that cannot be loaded.
    """
    directory, labels = ModelDir(out), tuple(labels)
    with directory.training_run(resume=False, overwrite=False):
        model = model if isinstance(model, keras.Model) else load(model, trust=trust)
        if getattr(model, "about", None) is not None:
            raise ModelError(f"{model.name} is a model of ours and says itself what it is; every command takes it")
        network = adopted(model, image, pixels, scores)
        if len(labels) != network.output_shape[1]:
            raise ModelError(f"{len(labels)} labels for {network.output_shape[1]} classes; give one for each, in the "
                             "order of the scores")  # fmt: skip
        check_distinct(labels)
        row = Adopted(network, labels).row({"resize": resize})
        task = replace(tasks.of_row(row, {}, {}), labels=labels)
        known = tasks.facts(task)
        card = Card(architecture=ARCHITECTURE, columns=task.columns(), labels=labels, input=known["input"],
                    options=known["options"], versions=versions())  # fmt: skip
        save(network, directory.model, card_about(card, directory.name))
        card = replace(card, digests={"model.keras": sha256(directory.model)})
        directory.write_card(card)
    return card
