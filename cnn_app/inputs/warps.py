"""Images that are turned or enlarged, with their masks: pixels are blended, the values of a mask are not."""

from __future__ import annotations

import math

import tensorflow as tf

from cnn_app.inputs.draws import boxes, each, rounded, uniform

TURN = math.radians(15)  # at most, either way
AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)  # of a crop, and its width by its height (arXiv:1409.4842, section 6)


def rotate(tensors: tuple[tf.Tensor, ...], seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Images (b, H, W, C) and masks (b, H, W), turned about their middle; the border is mirrored."""
    return turned(tensors, angles(seed, tf.shape(tensors[0])[0]))


def angles(seed: tf.Tensor, number) -> tf.Tensor:
    """Of `rotate`, in radians, (number,)."""
    return uniform(seed, "rotate", (number,), -TURN, TURN)


def turned(tensors: tuple[tf.Tensor, ...], angles: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """`rotate` by known angles (b,) in radians, counterclockwise."""
    x, y = ((side - 1) / 2 for side in (tensors[0].shape[2], tensors[0].shape[1]))
    cosine, sine, zero = tf.cos(angles), tf.sin(angles), tf.zeros_like(angles)
    rows = tf.stack(
        [cosine, -sine, x - cosine * x + sine * y, sine, cosine, y - sine * x - cosine * y, zero, zero], 1
    )  # fmt: skip

    def one(image, row):
        blended = len(image.shape) == 3
        whole = tf.cast(image, tf.float32) if blended else image[..., None]
        found = tf.raw_ops.ImageProjectiveTransformV3(
            images=whole[None], transforms=row[None], output_shape=image.shape[:2], fill_value=0.0,
            interpolation="BILINEAR" if blended else "NEAREST", fill_mode="REFLECT",
        )[0]  # fmt: skip
        return rounded(found if blended else found[..., 0], image)

    return tuple(each(one, tensor, rows) for tensor in tensors)


def resized_crop(tensors: tuple[tf.Tensor, ...], seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """A box of each image (b, H, W, C) and of its mask (b, H, W), enlarged to their whole size."""
    return enlarged(tensors, crops(seed, tf.shape(tensors[0])[0], tensors[0].shape[1:3]))


def crops(seed: tf.Tensor, number, sides) -> tf.Tensor:
    """Of `resized_crop`: (top, left, height, width) in images of `sides`, int32 (number, 4)."""
    return boxes(seed, "resized-crop", number, sides, AREA, RATIO, largest(*sides))


def largest(high, wide) -> tuple:
    """Height and width of the largest box that has one of the ratios, where no other fits."""
    high, wide = tf.cast(high, tf.float32), tf.cast(wide, tf.float32)
    return tf.minimum(high, tf.round(wide / RATIO[0])), tf.minimum(wide, tf.round(high * RATIO[1]))


def enlarged(tensors: tuple[tf.Tensor, ...], boxes: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """`resized_crop` of known boxes (top, left, height, width), int32 (b, 4)."""

    def one(image, box):
        part = image[box[0] : box[0] + box[2], box[1] : box[1] + box[3]]
        if len(image.shape) == 3:
            return rounded(tf.image.resize(part, image.shape[:2]), image)
        return tf.ensure_shape(tf.image.resize(part[..., None], image.shape[:2], "nearest")[..., 0], image.shape)

    return tuple(each(one, tensor, boxes) for tensor in tensors)
