"""Images whose values change: other colours, and an erased box."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from cnn_app.inputs.draws import boxes, each, rounded, uniform
from cnn_app.inputs.pixels import LUMA

JITTER, HUE = 0.4, 0.1  # how far factors lie from 1, and how much of the colour circle hues turn by, at most
ERASED, ERASED_AREA, ERASED_RATIO = 0.25, (0.02, 1 / 3), (0.3, 3.3)  # share of images; of a box (arXiv:1708.04896)
YIQ = np.array([LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])  # of red, green, blue


def jitter(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """uint8 (b, H, W, 1 or 3): brightness, contrast, saturation, then hue, by draws of each image's own.

    The first three are those of torchvision and Pillow: a mean with black, with the image's mean grey, with its own
    grey. The hue turns in the plane of I and Q, which keeps the luma. All is one matrix; values are clipped once, at
    its end. Of a grey image brightness and contrast change.
    """
    number = (tf.shape(images)[0],)
    low, high = 1 - JITTER, 1 + JITTER
    bright, contrast, saturation = (
        uniform(seed, f"jitter: {what}", number, low, high) for what in ("brightness", "contrast", "saturation")
    )
    hue = uniform(seed, "jitter: hue", number, -HUE, HUE)
    return recoloured(images, bright, contrast, saturation, hue)


def recoloured(images: tf.Tensor, bright: tf.Tensor, contrast: tf.Tensor, saturation: tf.Tensor, hue: tf.Tensor):
    """`jitter` by known factors (b,), where 1 changes nothing, and shares of the colour circle."""
    channels = images.shape[-1]
    luma = tf.constant([1.0] if channels == 1 else LUMA)
    matrix = tf.ones((1, 1, 1)) if channels == 1 else tf.matmul(_saturated(saturation), _turned(hue))
    matrices = (bright * contrast)[:, None, None] * matrix

    def one(image, matrix, towards_grey):
        values = tf.reshape(tf.cast(image, tf.float32), (-1, channels))
        grey = tf.reduce_sum(tf.reduce_mean(values, 0) * luma)
        return rounded(tf.reshape(tf.matmul(values, matrix) + towards_grey * grey, image.shape), image)

    return each(one, images, matrices, bright * (1 - contrast))


def _saturated(factor: tf.Tensor) -> tf.Tensor:
    """(b, 3, 3), for rows of red, green and blue from the left."""
    grey = tf.constant([[share] * 3 for share in LUMA])
    return grey + factor[:, None, None] * (tf.eye(3) - grey)


def _turned(share: tf.Tensor) -> tf.Tensor:
    """(b, 3, 3), for rows of red, green and blue from the left."""
    parts = ([[1, 0, 0], [0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 0, 0], [0, 0, -1], [0, 1, 0]])
    kept, along, across = (tf.constant((np.linalg.inv(YIQ) @ part @ YIQ).T, tf.float32) for part in parts)
    angle = 2 * math.pi * share[:, None, None]
    return kept + tf.cos(angle) * along + tf.sin(angle) * across


def erase(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """uint8 (b, H, W, C): in a quarter of the images a box becomes noise, uniform in [0, 255].

    Noise does as well as the mean colour, and better than black or white (arXiv:1708.04896, section 5). It is one sheet
    for all of a batch, of which each image gets what lies in its box.
    """
    number, (high, wide) = tf.shape(images)[0], images.shape[1:3]
    found = boxes(seed, "erase", number, (high, wide), ERASED_AREA, ERASED_RATIO, (0, 0))
    found = tf.where(uniform(seed, "erase", (number, 1)) < ERASED, found, 0)
    sheet = tf.cast(uniform(seed, "erase: noise", images.shape[1:], 0.0, 256.0), tf.uint8)
    rows, columns = tf.range(high)[:, None, None], tf.range(wide)[None, :, None]

    def noisy(image, box):
        inside = (rows >= box[0]) & (rows < box[0] + box[2]) & (columns >= box[1]) & (columns < box[1] + box[3])
        return tf.where(inside, sheet, image)

    def one(image, box):
        return tf.cond(box[2] > 0, lambda: noisy(image, box), lambda: image)

    return each(one, images, found)
