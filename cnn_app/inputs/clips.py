"""Clips in TensorFlow's graph: which frames a network sees, brought to its size, and changed alike for training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from cnn_app.augmentations import MIRROR, MOVES
from cnn_app.inputs import pixels
from cnn_app.inputs.augment import changed, moved

if TYPE_CHECKING:
    from cnn_app.inputs.clip import Clip


def chosen(frames: tf.Tensor, clip: Clip, share) -> tf.Tensor:
    """Of frames (t, h, w, C) those of a run: see `clip_places.places`."""
    count = tf.shape(frames)[0]
    over = tf.maximum(count - clip.reach, 0)
    start = tf.minimum(tf.cast(tf.cast(over + 1, tf.float32) * share, tf.int32), over)
    return tf.gather(frames, tf.minimum(start + clip.step * tf.range(clip.frames), count - 1))


def sized(frames: tf.Tensor, clip: Clip) -> tf.Tensor:
    """uint8 (n, h, w, 1 or 3) -> uint8 (n, H, W, C), each as an image is."""
    one = tf.TensorSpec(clip.shape, tf.uint8)
    return tf.map_fn(lambda frame: pixels.to_size(frame, clip), frames, fn_output_signature=one)


def decoded(data: tf.Tensor, clip: Clip) -> tf.Tensor:
    """A GIF -> the middle of it, uint8 (frames, H, W, C)."""
    found = sized(chosen(tf.io.decode_gif(data), clip, 0.5), clip)
    return tf.ensure_shape(found, (clip.frames, *clip.shape))


def augmented(clips: tf.Tensor, seed: tuple, names: tuple[str, ...]) -> tf.Tensor:
    """uint8 (b, T, H, W, C), all frames of a clip moved and changed alike."""
    number, (frames, height, width, channels) = tf.shape(clips)[0], clips.shape[1:]
    moves = tuple("flip" if name == MIRROR else name for name in names if name in (*MOVES, MIRROR))
    if moves:  # of images with the channels of all frames
        beside = tf.transpose(clips, (0, 2, 3, 1, 4))
        (beside,) = moved((tf.reshape(beside, (number, height, width, frames * channels)),), seed, moves)
        beside = tf.reshape(beside, (number, height, width, frames, channels))
        clips = tf.transpose(beside, (0, 3, 1, 2, 4))
    if changes := tuple(name for name in names if name == "jitter"):  # of images with the lines of all frames
        below = tf.reshape(clips, (number, frames * height, width, channels))
        clips = changed(below, seed, changes)
    return tf.reshape(clips, (number, frames, height, width, channels))
