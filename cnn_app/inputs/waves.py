"""Waves in TensorFlow's graph: decoded and resampled as `wave_files` does it, and changed for training."""

from __future__ import annotations

import tensorflow as tf

from cnn_app.inputs.draws import uniform

SHIFT = 1 / 10  # of a record, that its sound may move by
LOUDEST, QUIETEST = 10.0, 40.0  # dB that noise lies below the sound
HALF, BETA = 10, 5.0  # zeros of the filter on each side, and its Kaiser window, as in scipy.signal.resample_poly


def decoded(data: tf.Tensor, rate: int, samples: int) -> tf.Tensor:
    """A WAV of 16 bits PCM -> float32 (samples,) at `rate`, the mean of its channels."""
    channels, given = tf.audio.decode_wav(data)
    wave = tf.reduce_mean(channels, 1)
    tf.debugging.assert_positive(tf.size(wave), "the wave has no samples")
    wave = tf.cond(given == rate, lambda: wave, lambda: resampled(wave, given, rate, samples))
    return fitted(wave, samples)


def fitted(wave: tf.Tensor, samples: int) -> tf.Tensor:
    """The start of a wave (n,), with zeros behind it where it is too short."""
    wave = wave[:samples]
    return tf.ensure_shape(tf.pad(wave, [[0, samples - tf.size(wave)]]), (samples,))


def resampled(wave: tf.Tensor, given: tf.Tensor, rate: int, samples: int) -> tf.Tensor:
    """Up to `samples` of a wave (n,) of the rate `given` at another: what scipy.signal.resample_poly makes of it.

    Each is the sum of those around it times a sinc under a Kaiser window, whose cutoff is the lower rate.
    """
    given, wanted, length = tf.cast(given, tf.int64), tf.constant(rate, tf.int64), tf.size(wave, tf.int64)
    common = _gcd(given, wanted)
    up, down = wanted // common, given // common
    largest = tf.maximum(up, down)
    reach = HALF * largest

    def weights(places):
        x = tf.cast(places, tf.float32) / tf.cast(largest, tf.float32)
        angle = 3.14159265358979 * x
        sinc = tf.where(x == 0, 1.0, tf.sin(angle) / tf.where(x == 0, 1.0, angle))
        inside = tf.maximum(0.0, 1 - tf.square(x / HALF))
        return tf.where(tf.abs(x) <= HALF, sinc * tf.math.bessel_i0(BETA * tf.sqrt(inside)), 0.0)

    gain = tf.cast(up, tf.float32) / tf.reduce_sum(weights(tf.range(-reach, reach + 1)))
    count = tf.minimum(tf.constant(samples, tf.int64), (length * up + down - 1) // down)
    at = tf.range(count)[:, None] * down
    first = (at - reach + up - 1) // up
    taken = first + tf.range(2 * reach // up + 1)
    there = (taken >= 0) & (taken < length)
    values = tf.where(there, tf.gather(wave, tf.clip_by_value(taken, 0, length - 1)), 0.0)
    return tf.clip_by_value(gain * tf.reduce_sum(values * weights(at - taken * up), 1), -1.0, 1.0)


def _gcd(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.while_loop(lambda a, b: b > 0, lambda a, b: (b, a % b), (a, b))[0]


def augmented(waves: tf.Tensor, seed: tf.Tensor, names: tuple[str, ...]) -> tf.Tensor:
    """float32 (n, samples), changed by what `names` has of `shift` and `noise`."""
    if "shift" in names:
        waves = shifted(waves, seed)
    if "noise" in names:
        waves = noisy(waves, seed)
    return waves


def shifted(waves: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Each moved by up to a tenth of its length; zeros come in."""
    number, samples = tf.shape(waves)[0], waves.shape[1]
    by = tf.cast(tf.round(uniform(seed, "shift", (number, 1), -SHIFT, SHIFT) * samples), tf.int32)
    places = tf.range(samples)[None] - by
    there = (places >= 0) & (places < samples)
    moved = tf.gather(waves, tf.clip_by_value(places, 0, samples - 1), axis=1, batch_dims=1)
    return tf.where(there, moved, 0.0)


def noisy(waves: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """White noise, 10 to 40 dB below the power of each."""
    number = tf.shape(waves)[0]
    below = uniform(seed, "noise", (number, 1), LOUDEST, QUIETEST)
    power = tf.reduce_mean(tf.square(waves), 1, keepdims=True)
    spread = tf.sqrt(3 * power * 10 ** (-below / 10))  # of a uniform distribution of that power
    return tf.clip_by_value(waves + spread * uniform(seed, "noise: values", tf.shape(waves), -1.0, 1.0), -1.0, 1.0)
