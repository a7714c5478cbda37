"""A TF Serving version directory. Its signatures, by named inputs and outputs, for any batch:

An input tells the signatures that take records, such as `serving_default` of bytes, `float_pixels` and `image_bytes` of
images; each gives what the task deploys and what it says beside that, such as labels and scores of the best classes.
`features` takes what `serving_default` does and gives features (n, d), what the head sees. Parts of a network that the
task names, such as `encode` and `decode`, have signatures of their names. Where it is known what the training data look
like, `familiarity` takes what `serving_default` does and tells what is unlike them, and `image_bytes_familiarity` what
`image_bytes` takes: see `runtimes.familiarity`.

Labels are what assets/labels.txt says, a line each; until somebody writes it, they are numbers.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras

from cnn_app import heads, names
from cnn_app.export import graph
from cnn_app.export.targets import Target
from cnn_app.inputs import tables
from cnn_app.runtimes.about import LABELS
from cnn_app.runtimes.keras_model import fed
from cnn_app.tasks import Task
from cnn_app.tensors import Arrays
from cnn_app.transfer.features import tapped


def write(task: Task, model: keras.Model, path: Path, target: Target, calibration: Arrays | None) -> None:
    if not task.labelled:
        graph.write(path, model, signatures(task, model, None), task.input.resources)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / LABELS
        scores = task.deployed(model).output[heads.named(task.name).OUTPUTS[0]]
        file.write_text("".join(f"{label}\n" for label in range(scores.shape[-1])))
        labels = _table(file)
        graph.write(path, model, signatures(task, model, labels), [labels, *task.input.resources])


def signatures(task: Task, model: keras.Model, labels) -> dict:
    """Functions by the names that clients call them by; `labels` maps a class's number to its label."""
    import tensorflow as tf

    deployed = task.deployed(model)
    both = keras.Model(deployed.input, {"features": tapped(model).output} | deployed.output)

    taken = [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in deployed.inputs]

    @tf.function(input_signature=taken)  # stands in the file once, however many call it
    def network(*tensors):
        found = both(
            fed(both, {spec.name: tensor for spec, tensor in zip(taken, tensors, strict=True)}), training=False
        )
        activations = found.pop("features")
        positions = tuple(range(1, len(activations.shape) - 1))  # none where the head sees a vector
        return tf.reduce_mean(activations, positions), found

    def run(given):
        return network(*(given[spec.name] for spec in taken))

    known = getattr(model, "familiarity", None)

    @tf.function  # likewise
    def familiarity(features):
        return known.told(features)

    found = {}
    for name, specs, convert in task.input.signatures():

        def answers(*tensors, convert=convert, encoded=name == task.input.encoded):
            return task.served(run(convert(*tensors))[1], labels, tensors[0] if encoded else None)

        found[name] = graph.function(answers, specs)
        if name == names.DEFAULT:
            found[names.FEATURES] = graph.function(
                lambda *tensors, convert=convert: {"features": run(convert(*tensors))[0]}, specs
            )
        if known is not None and name in (places := {names.DEFAULT: "", task.input.encoded: f"{name}_"}):
            found[places[name] + names.FAMILIARITY] = graph.function(
                lambda *tensors, convert=convert: familiarity(run(convert(*tensors))[0]), specs
            )
    return found | {name: graph.alone(task, part, batch=None) for name, part in task.parts(model).items()}


def _table(file: Path):
    """A lookup table that a SavedModel takes along with its file."""
    import tensorflow as tf

    lines = tf.lookup.TextFileInitializer(
        str(file), tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE
    )
    return tables.filled(lines, "")
