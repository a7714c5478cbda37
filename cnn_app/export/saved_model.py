"""A TF Serving version directory. Its signatures, by named inputs and outputs, for any batch:

signature        input                                            outputs
serving_default  image, uint8 (n, H, W, C)                        probabilities (n, classes); the top k, the best first:
float_pixels     image, float32 (n, H, W, C) in [0, 255]          their labels as classes, string (n, k), and their
image_bytes      image_bytes, string (n,): JPEG, PNG, BMP, GIF    probabilities as scores (n, k)
features         image, uint8 (n, H, W, C)                        features (n, d), what the head sees

Labels are what assets/labels.txt says, a line each; until somebody writes it, they are numbers.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras
import numpy as np

from cnn_app import names
from cnn_app.data import images
from cnn_app.export import graph, metadata
from cnn_app.export.targets import Target
from cnn_app.transfer.features import tapped


def write(model: keras.Model, path: Path, target: Target, calibration: np.ndarray | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / metadata.LABELS
        file.write_text("".join(f"{label}\n" for label in range(model.output_shape[-1])))
        labels = _table(file)
        graph.write(path, model, signatures(model, labels), [labels])


def signatures(model: keras.Model, labels) -> dict:
    """Functions by the names that clients call them by; `labels` maps a class's number to its label."""
    import tensorflow as tf

    image, k = model.input_shape[1:], min(names.TOP, model.output_shape[-1])
    both = keras.Model(model.input, [tapped(model).output, model.output])

    def function(body, name, shape, dtype):
        return tf.function(body, input_signature=[tf.TensorSpec((None, *shape), dtype, name=name)])

    def run(pixels):
        activations, logits = both(pixels, training=False)
        positions = tuple(range(1, len(activations.shape) - 1))  # none where the head sees a vector
        return tf.reduce_mean(activations, positions), tf.nn.softmax(logits)

    network = function(run, "pixels", image, tf.float32)  # stands in the file once, however many call it

    def answers(image):
        probabilities = network(image)[1]
        scores, numbers = tf.math.top_k(probabilities, k, index_type=tf.int64)
        return {"probabilities": probabilities, "classes": labels.lookup(numbers), "scores": scores}

    def as_float(image):
        return answers(tf.cast(image, tf.float32))

    def decoded(image_bytes):
        pixels = tf.map_fn(lambda data: images.to_size(images.decode(data), image), image_bytes,
                           fn_output_signature=tf.TensorSpec(image, tf.uint8))  # fmt: skip
        return as_float(pixels)

    def features(image):
        return {"features": network(tf.cast(image, tf.float32))[0]}

    return {
        names.DEFAULT: function(as_float, "image", image, tf.uint8),
        names.FLOAT_PIXELS: function(answers, "image", image, tf.float32),
        names.IMAGE_BYTES: function(decoded, names.IMAGE_BYTES, (), tf.string),
        names.FEATURES: function(features, "image", image, tf.uint8),
    }


def _table(file: Path):
    """A lookup table that a SavedModel takes along with its file."""
    import tensorflow as tf

    lines = tf.lookup.TextFileInitializer(
        str(file), tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE
    )
    return tf.lookup.StaticHashTable(lines, default_value="")
