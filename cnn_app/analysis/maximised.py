"""Images that the score of a class is largest for: Simonyan, Vedaldi, Zisserman, arXiv:1312.6034, section 2.

Pixels follow the gradient of the logit from grey, less a share of their distance from grey. Moving the image by a few
pixels before each step, and blurring it now and then, keeps it from filling with what only single pixels make (Yosinski
et al., arXiv:1506.06579).
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

STEPS, RATE = 128, 6.0  # RATE: the mean distance that a step moves pixels by, at first
GREY, DECAY = 127.5, 0.01  # DECAY: of the distance from grey, at each step
MOVES = 1 / 28  # of the shorter side, at most
BLURRED, BLUR_EVERY = 0.75, 4  # the share of steps that are blurred in, so many steps apart


def maximised(model: keras.Model, classes: list[int], steps: int = STEPS, seed: int = 0) -> np.ndarray:
    """`model`: image -> logits. An image uint8 (h, w, c) for each class, by gradient ascent."""
    draw = np.random.default_rng(seed)
    shape = (len(classes), *model.input_shape[1:])
    where = list(enumerate(classes))

    @tf.function
    def gradient(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            logits = model(images, training=False)
            means = tf.reduce_mean(tf.reshape(logits, (shape[0], -1, logits.shape[-1])), 1)
            score = tf.gather_nd(means, where)
        return tape.gradient(score, images)

    images = tf.constant(draw.normal(GREY, 8, shape), tf.float32)
    most = max(1, round(min(shape[1:3]) * MOVES))
    for number in range(steps):
        down, right = draw.integers(-most, most + 1, 2)
        slope = tf.roll(gradient(tf.roll(images, (down, right), (1, 2))), (-down, -right), (1, 2))
        slope /= tf.reduce_mean(tf.abs(slope), (1, 2, 3), keepdims=True) + 1e-12
        images = GREY + (images - GREY) * (1 - DECAY) + RATE * (1 - number / steps) * slope
        soft = number % BLUR_EVERY == 0 and number < steps * BLURRED
        images = tf.clip_by_value(_blurred(images) if soft else images, 0, 255)
    return np.round(images.numpy()).astype(np.uint8)


def _blurred(images):
    """By the kernel 1 2 1 along both sides, edges repeated."""
    for axis in (1, 2):
        padding = [[0, 0], [1, 1], [0, 0], [0, 0]] if axis == 1 else [[0, 0], [0, 0], [1, 1], [0, 0]]
        wide = tf.pad(images, padding, "SYMMETRIC")
        before, after = (wide[:, :-2], wide[:, 2:]) if axis == 1 else (wide[:, :, :-2], wide[:, :, 2:])
        images = (before + 2 * images + after) / 4
    return images
