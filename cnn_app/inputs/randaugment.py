"""RandAugment (Cubuk et al., arXiv:1909.13719): two operations of fourteen for every image, all at one strength.

Ranges are those of AutoAugment (arXiv:1805.09501, Table 6) at nine tenths, which is the paper's choice for ImageNet.
"""

from __future__ import annotations

import math

import tensorflow as tf

from cnn_app.inputs.draws import rounded

OPERATIONS = 2  # for each image
STRENGTH = 0.9
SHEAR, TRANSLATE, ROTATE = 0.3 * STRENGTH, 0.45 * STRENGTH, math.radians(30 * STRENGTH)
ENHANCE = 0.9 * STRENGTH  # of colour, contrast, brightness and sharpness, up or down
SOLARIZE = round(256 * STRENGTH)  # values from here on are inverted
POSTERIZE = 4  # bits that stay
GREY = 128.0  # where there was no image


def randaugment(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """uint8 (n, H, W, 1 or 3), each image by draws of its own from `seed`, int64 (2,)."""

    def one(arguments):
        image, number = arguments
        for step in range(OPERATIONS):
            own = tf.random.experimental.stateless_fold_in(seed, number * OPERATIONS + step)
            which = tf.random.stateless_uniform((), own, 0, len(CHOICES), tf.int32)
            sign = tf.cast(tf.random.stateless_uniform((), own + 1, 0, 2, tf.int32) * 2 - 1, tf.float32)
            image = tf.switch_case(which, [lambda f=f, p=image, s=sign: rounded(f(p, s), p) for f in CHOICES])
        return image

    numbers = tf.range(tf.shape(images, tf.int64)[0])
    return tf.map_fn(one, (images, numbers), fn_output_signature=tf.TensorSpec(images.shape[1:], tf.uint8))


def identity(image, sign):
    return image


def autocontrast(image, sign):
    """Stretch each channel to 0..255."""
    values = tf.cast(image, tf.float32)
    low, high = tf.reduce_min(values, (0, 1)), tf.reduce_max(values, (0, 1))
    return tf.where(high > low, (values - low) * 255 / tf.maximum(high - low, 1.0), values)


def equalize(image, sign):
    """Spread each channel's values so that their histogram is flat, by Pillow's rounding."""
    flat = tf.transpose(tf.reshape(tf.cast(image, tf.int32), (-1, image.shape[-1])))
    counts = tf.math.bincount(flat, minlength=256, maxlength=256, axis=-1)
    last = tf.gather(counts, tf.reduce_max(flat, 1), axis=1, batch_dims=1)
    step = (tf.shape(flat)[1] - last)[:, None] // 255
    table = (tf.cumsum(counts, axis=1, exclusive=True) + step // 2) // tf.maximum(step, 1)
    table = tf.where(step > 0, tf.minimum(table, 255), tf.range(256)[None])
    return tf.cast(tf.reshape(tf.transpose(tf.gather(table, flat, axis=1, batch_dims=1)), image.shape), tf.uint8)


def solarize(image, sign):
    return tf.where(image < SOLARIZE, image, 255 - image)


def posterize(image, sign):
    return tf.bitwise.left_shift(tf.bitwise.right_shift(image, 8 - POSTERIZE), tf.cast(8 - POSTERIZE, tf.uint8))


def colour(image, sign):
    return _blended(tf.reduce_mean(tf.cast(image, tf.float32), -1, keepdims=True), image, sign)


def contrast(image, sign):
    return _blended(tf.reduce_mean(tf.cast(image, tf.float32)), image, sign)


def brightness(image, sign):
    return _blended(0.0, image, sign)


def sharpness(image, sign):
    kernel = tf.tile(
        tf.constant([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]])[:, :, None, None] / 13, (1, 1, image.shape[-1], 1)
    )
    smooth = tf.nn.depthwise_conv2d(tf.cast(image, tf.float32)[None], kernel, (1, 1, 1, 1), "SAME")[0]
    return _blended(smooth, image, sign)


def rotate(image, sign):
    return turned(image, math.cos(ROTATE), sign * math.sin(ROTATE))


def turned(image, cosine, sine):
    y, x = ((side - 1) / 2 for side in image.shape[:2])
    return _warped(image, cosine, -sine, x - cosine * x + sine * y, sine, cosine, y - sine * x - cosine * y)


def shear_x(image, sign):
    return _warped(image, 1.0, sign * SHEAR, 0.0, 0.0, 1.0, 0.0)


def shear_y(image, sign):
    return _warped(image, 1.0, 0.0, 0.0, sign * SHEAR, 1.0, 0.0)


def translate_x(image, sign):
    return _warped(image, 1.0, 0.0, sign * TRANSLATE * image.shape[1], 0.0, 1.0, 0.0)


def translate_y(image, sign):
    return _warped(image, 1.0, 0.0, 0.0, 0.0, 1.0, sign * TRANSLATE * image.shape[0])


def _blended(dull, image, sign):
    """Away from `dull`, or towards it."""
    return dull + (1 + sign * ENHANCE) * (tf.cast(image, tf.float32) - dull)


def _warped(image, *affine):
    """Output (x, y) shows the input at (a x + b y + c, d x + e y + f)."""
    row = tf.stack([tf.cast(value, tf.float32) for value in (*affine, 0.0, 0.0)])[None]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None], transforms=row, output_shape=image.shape[:2], fill_value=GREY,
        interpolation="BILINEAR", fill_mode="CONSTANT",
    )[0]  # fmt: skip


CHOICES = (identity, autocontrast, equalize, solarize, posterize, colour, contrast, brightness, sharpness, rotate,
           shear_x, shear_y, translate_x, translate_y)  # fmt: skip
