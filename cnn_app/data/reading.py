"""Records read one by one: now, for those that can be read, or once they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import tensorflow as tf

from cnn_app.data.dataset import Column
from cnn_app.tensors import Arrays


def sound_records(read: Mapping[str, Callable], places: np.ndarray) -> Iterator[tuple[int, Arrays]]:
    """Those at `places` that can be read."""
    if not len(places):  # a graph for nothing takes a second
        return
    records = tf.data.Dataset.from_tensor_slices(places).map(
        lambda i: (i, {name: function(i) for name, function in read.items()}), tf.data.AUTOTUNE
    )
    yield from records.ignore_errors().prefetch(64).as_numpy_iterator()


def filling(read: Callable, array: np.ndarray, there: np.ndarray) -> Column:
    """A column that keeps in `array` what is read, and is not `there` yet."""
    kind, shape = tf.as_dtype(array.dtype), array.shape[1:]

    def found(i):
        return there[i], array[i] if there[i] else array[:0]

    def keep(i, value):
        array[i], there[i] = value, True
        return value

    def reading(i):
        is_there, value = tf.numpy_function(found, [i], (tf.bool, kind))
        return tf.cond(
            tf.ensure_shape(is_there, ()), lambda: tf.ensure_shape(value, shape),
            lambda: tf.ensure_shape(tf.numpy_function(keep, [i, read(i)], kind), shape),
        )  # fmt: skip

    return Column(reading, kept=(array, there))


def reader(column: Column, function: Callable) -> Callable:
    return lambda i: function(column.read(i))
