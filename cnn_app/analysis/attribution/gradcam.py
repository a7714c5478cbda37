"""Grad-CAM: Selvaraju et al., arXiv:1610.02391, equations 1 and 2."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from cnn_app.analysis.attribution import Explained
from cnn_app.analysis.attribution.gradients import of_maps, spread


def heat(explained: Explained, image: np.ndarray) -> np.ndarray:
    maps, gradient = of_maps(explained, image)
    return spread(np.maximum(maps @ gradient.mean((0, 1)), 0), image)


def of_classes(explained: Explained, images: np.ndarray, places: Sequence[int]) -> np.ndarray:
    """images (n, h, w, c), a class for each, of a network with logits (n, classes) -> (n, h, w), in one pass."""
    network = explained.model
    both = keras.Model(network.input, [network.get_layer(explained.layer).output, network.output])
    with tf.GradientTape() as tape:
        maps, logits = both(tf.convert_to_tensor(images, tf.float32), training=False)
        score = tf.gather_nd(logits, list(enumerate(places)))
    weights = tf.reduce_mean(tape.gradient(score, maps), (1, 2), keepdims=True)
    found = tf.nn.relu(tf.reduce_sum(maps * weights, -1, keepdims=True))
    return tf.image.resize(found, images.shape[1:3])[..., 0].numpy()
