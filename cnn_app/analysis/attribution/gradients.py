"""Gradients of a class's score, by what is between it and the image."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from cnn_app.analysis.attribution import Explained


def of_pixels(explained: Explained, images: np.ndarray, model: keras.Model | None = None) -> np.ndarray:
    """images (n, h, w, c) -> the gradient of the score of each, of the same shape."""
    pixels = tf.convert_to_tensor(images, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        score = explained.score((model or explained.model)(pixels, training=False))
    return tape.gradient(score, pixels).numpy()


def of_maps(explained: Explained, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The maps (h, w, k) of the layer, and the gradient of the score by them."""
    network = explained.model
    both = keras.Model(network.input, [network.get_layer(explained.layer).output, network.output])
    with tf.GradientTape() as tape:
        maps, logits = both(tf.convert_to_tensor(image[None], tf.float32), training=False)
        score = explained.score(logits)
    return maps[0].numpy(), tape.gradient(score, maps)[0].numpy()


def spread(heat: np.ndarray, image: np.ndarray) -> np.ndarray:
    """(h, w) at the size of the image, bilinearly."""
    return tf.image.resize(heat[..., None], image.shape[:2])[..., 0].numpy()
