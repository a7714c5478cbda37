"""Changed images for training: moved, recoloured and mixed ones. All is a function of a seed."""

from __future__ import annotations

import tensorflow as tf

from cnn_app.inputs.draws import uniform
from cnn_app.inputs.randaugment import randaugment
from cnn_app.inputs.recolour import erase, jitter
from cnn_app.inputs.trivialaugment import trivialaugment
from cnn_app.inputs.warps import resized_crop, rotate

SHIFT = 1 / 8  # of the side that a crop may move by: CIFAR's 4 of 32 (arXiv:1512.03385, 4.2)
MIXUP_ALPHA, CUTMIX_ALPHA = 0.2, 1.0  # of the Beta distributions (arXiv:1710.09412, 4.1; arXiv:1905.04899, 4.1)


# by the names of recipe.py, in the order that they follow each other in
WARPS = {"rotate": rotate, "resized-crop": resized_crop}  # of images and masks alike
CHANGES = {"jitter": jitter, "trivialaugment": trivialaugment, "randaugment": randaugment, "erase": erase}  # of images


def augmented(images: tf.Tensor, seed: tuple, augment: tuple[str, ...]) -> tf.Tensor:
    """uint8 (b, H, W, C), moved and changed by what `augment` names."""
    (images,) = moved((images,), seed, augment)
    return changed(images, seed, augment)


def changed(images: tf.Tensor, seed: tuple, augment: tuple[str, ...]) -> tf.Tensor:
    """uint8 (b, H, W, C): what `augment` names of CHANGES, which leave masks alone."""
    for name, change in CHANGES.items():
        if name in augment:
            images = change(images, stacked(seed))
    return images


def mixed(images: tf.Tensor, labels: tf.Tensor, seed: tuple, augment: tuple[str, ...]) -> tuple[tf.Tensor, tf.Tensor]:
    """Blend each image and its label (b, classes) with its neighbour's: all of it (mixup) or a box of it (cutmix).

    With both, a coin decides for each image.
    """
    kinds = [kind for kind in ("mixup", "cutmix") if kind in augment]
    if not kinds:
        return images, labels
    seed = stacked(seed) + 17
    number = tf.shape(images)[0]
    masks = [_mixup(images, seed) if kind == "mixup" else _cutmix(images, seed) for kind in kinds]
    coin = tf.random.stateless_uniform((number, 1, 1, 1), seed + 3) < 0.5
    mask = masks[0] if len(masks) == 1 else tf.where(coin, *masks)
    share = tf.reduce_mean(mask, (1, 2))
    own, other = (tf.cast(x, tf.float32) for x in (images, tf.roll(images, 1, 0)))
    blend = tf.cast(tf.round(mask * own + (1 - mask) * other), tf.uint8)
    return blend, share * labels + (1 - share) * tf.roll(labels, 1, 0)


def _mixup(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """How much of each pixel stays: the same for all of an image."""
    return tf.zeros_like(images[..., :1], tf.float32) + _beta(images, seed, MIXUP_ALPHA)


def _cutmix(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """How much of each pixel stays: nothing within a box of the neighbour's share of the area."""
    share = tf.sqrt(1 - _beta(images, seed, CUTMIX_ALPHA))
    inside = []
    for axis, side in ((1, tf.shape(images)[1]), (2, tf.shape(images)[2])):
        centre = tf.random.stateless_uniform(tf.shape(share), seed + axis) * tf.cast(side, tf.float32)
        shape = [1, -1 if axis == 1 else 1, -1 if axis == 2 else 1, 1]
        places = tf.reshape(tf.cast(tf.range(side), tf.float32) + 0.5, shape)
        inside.append(tf.abs(places - centre) < share * tf.cast(side, tf.float32) / 2)
    return 1 - tf.cast(inside[0] & inside[1], tf.float32)


def _beta(images: tf.Tensor, seed: tf.Tensor, alpha: float) -> tf.Tensor:
    """Beta(alpha, alpha) draws of shape (b, 1, 1, 1)."""
    shape = (tf.shape(images)[0], 1, 1, 1)
    one, other = (tf.random.stateless_gamma(shape, seed + 7 * i, alpha, dtype=tf.float64) for i in range(2))
    return tf.cast((one + 1e-300) / (one + other + 2e-300), tf.float32)


def moved(tensors: tuple[tf.Tensor, ...], seed: tuple, augment: tuple[str, ...]) -> tuple[tf.Tensor, ...]:
    """Images (b, H, W, C) and masks (b, H, W), all by the same moves; borders are mirrored."""
    seed = stacked(seed)
    tensors = _shifted_and_flipped(tensors, seed, augment)
    for name, warp in WARPS.items():
        if name in augment:
            tensors = warp(tensors, seed)
    return tensors


def _shifted_and_flipped(
    tensors: tuple[tf.Tensor, ...], seed: tf.Tensor, augment: tuple[str, ...]
) -> tuple[tf.Tensor, ...]:
    """In one gather."""
    flip, vflip, crop = (name in augment for name in ("flip", "vflip", "crop"))
    if not (flip or vflip or crop):
        return tensors
    number, height, width = (tensors[0].shape[i] or tf.shape(tensors[0])[i] for i in range(3))
    rows, columns = tf.range(height)[None], tf.range(width)[None]
    if crop:
        rows, columns = (
            _mirrored(places + shifts(seed, number, side, axis), side)
            for axis, (places, side) in enumerate(((rows, height), (columns, width)))
        )
    if flip:
        columns = tf.where(flipped(seed, number), width - 1 - columns, columns)
    if vflip:
        rows = tf.where(upended(seed, number), height - 1 - rows, rows)
    places = tf.broadcast_to(rows[:, :, None] * width + columns[:, None, :], (number, height, width))

    def gathered(tensor):
        flat = tf.reshape(tensor, (number, height * width, *tensor.shape[3:]))
        return tf.gather(flat, places, axis=1, batch_dims=1)

    return tuple(map(gathered, tensors))


def flipped(seed: tf.Tensor, number) -> tf.Tensor:
    """Which images are seen from behind, bool (number, 1)."""
    return tf.random.stateless_uniform((number, 1), seed) < 0.5


def upended(seed: tf.Tensor, number) -> tf.Tensor:
    """Which images stand on their heads, bool (number, 1)."""
    return uniform(seed, "vflip", (number, 1)) < 0.5


def shifts(seed: tf.Tensor, number, side: int, axis: int) -> tf.Tensor:
    """By how many pixels the view of each image moves along an axis, int32 (number, 1)."""
    reach = int(side * SHIFT)
    return tf.random.stateless_uniform((number, 1), seed + 1 + axis, -reach, reach + 1, tf.int32)


def stacked(seed: tuple) -> tf.Tensor:
    return tf.stack([tf.cast(part, tf.int64) for part in seed])


def _mirrored(places: tf.Tensor, side: int) -> tf.Tensor:
    """Places beyond the border, brought back into the image."""
    return side - 1 - tf.abs(side - 1 - tf.abs(places))
