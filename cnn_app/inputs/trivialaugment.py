"""TrivialAugment (Müller and Hutter, arXiv:2103.10158): one operation of fourteen for every image, at any strength.

The space is the paper's wide one (Table 1) with RandAugment's operations. Moves of 32 pixels are at most those of
RandAugment, for the sake of small images, and what they open is grey.
"""

from __future__ import annotations

import math
from functools import partial

import tensorflow as tf

from cnn_app.inputs import randaugment as known
from cnn_app.inputs.draws import each, rounded, uniform

STRENGTHS = 31  # from none to all
WIDE = 0.99  # of shears, colour, contrast, brightness and sharpness
TRANSLATE, ROTATE = 32, math.radians(135)  # pixels; radians
POSTERIZE = 6  # bits that go


def trivialaugment(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """uint8 (n, H, W, 1 or 3), each image by draws of its own from `seed`, int64 (2,)."""
    number = (tf.shape(images)[0],)
    which = tf.cast(uniform(seed, "trivialaugment: operation", number, 0, len(CHOICES)), tf.int32)
    strength = tf.floor(uniform(seed, "trivialaugment: strength", number, 0, STRENGTHS)) / (STRENGTHS - 1)
    sign = tf.where(uniform(seed, "trivialaugment: sign", number) < 0.5, -1.0, 1.0)

    def one(image, which, amount):
        return tf.switch_case(which, [lambda f=f, p=image, a=amount: rounded(f(p, a), p) for f in CHOICES])

    return each(one, images, which, sign * strength)


def solarize(image, amount):
    return tf.where(tf.cast(image, tf.float32) < 256 * (1 - tf.abs(amount)), image, 255 - image)


def posterize(image, amount):
    bits = tf.cast(tf.round(POSTERIZE * tf.abs(amount)), tf.uint8)
    return tf.bitwise.left_shift(tf.bitwise.right_shift(image, bits), bits)


def rotate(image, amount):
    return known.turned(image, tf.cos(amount * ROTATE), tf.sin(amount * ROTATE))


def translate_x(image, amount):
    return known.translate_x(image, amount * min(1.0, TRANSLATE / (known.TRANSLATE * image.shape[1])))


def translate_y(image, amount):
    return known.translate_y(image, amount * min(1.0, TRANSLATE / (known.TRANSLATE * image.shape[0])))


def _wide(operation, own, image, amount):
    """An operation whose strength at 1 is `own`, up to WIDE."""
    return operation(image, amount * WIDE / own)


CHOICES = (
    known.identity, known.autocontrast, known.equalize, solarize, posterize, rotate, translate_x, translate_y,
    *(partial(_wide, one, known.SHEAR) for one in (known.shear_x, known.shear_y)),
    *(partial(_wide, one, known.ENHANCE)
      for one in (known.colour, known.contrast, known.brightness, known.sharpness)),
)  # fmt: skip
