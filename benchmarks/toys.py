"""Tiny models that take every kind of request, for attacks on a server."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from cnn_app.export import metadata
from cnn_app.inputs.image import Image
from cnn_app.names import DEFAULT, TEXT
from cnn_app.runtimes.about import About

SIDE, LABELS = 8, ("red", "green", "blue")
CLASSIFY, REGRESS = "of_examples", "value_of_examples"  # signatures


def store(folder: Path) -> Path:
    """`pixels` in two versions, `examples` with older calls, `words`."""
    for version in (1, 2):
        pixels(folder / "pixels" / str(version))
    examples(folder / "examples" / "1")
    words(folder / "words" / "1")
    return folder


def pixels(path: Path) -> None:
    """A classifier by the mean colour, which says of itself that it takes images."""

    @tf.function(input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.uint8, name="image")])
    def serve(image):
        return {"probabilities": tf.nn.softmax(tf.reduce_mean(tf.cast(image, tf.float32), (1, 2)) / 64)}

    _save(path, {DEFAULT: serve})
    metadata.attach(path, About(task="classification", input=Image((SIDE, SIDE, 3)).facts(), labels=LABELS))


def examples(path: Path) -> None:
    """Half plus two: of a tensor of any shape, and of tf.Examples by either older call."""

    def parsed(serialized):
        return tf.io.parse_example(serialized, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"] / 2 + 2

    default = tf.function(lambda x: {"y": x / 2 + 2}, input_signature=[tf.TensorSpec(None, tf.float32, name="x")])
    taken = [tf.TensorSpec((None,), tf.string, name="inputs")]
    classes = tf.function(lambda inputs: {"scores": parsed(inputs)}, input_signature=taken)
    values = tf.function(lambda inputs: {"outputs": parsed(inputs)}, input_signature=taken)
    _save(path, {DEFAULT: default, CLASSIFY: classes, REGRESS: values})
    file = path / "saved_model.pb"  # Keras and TensorFlow 2 know one method only
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for name, method in ((CLASSIFY, "classify"), (REGRESS, "regress")):
        saved.meta_graphs[0].signature_def[name].method_name = f"tensorflow/serving/{method}"
    file.write_bytes(saved.SerializeToString())


def words(path: Path) -> None:
    """The length of a text."""
    taken = [tf.TensorSpec((None,), tf.string, name="text")]
    length = tf.function(lambda text: {"scores": tf.strings.length(text)[:, None]}, input_signature=taken)
    _save(path, {TEXT: length})


def _save(path: Path, signatures: dict) -> None:
    module = tf.Module()
    module.kept = list(signatures.values())
    tf.saved_model.save(module, str(path), signatures)
