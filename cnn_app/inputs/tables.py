"""Lookup tables that TensorFlow's graphs take along."""

from __future__ import annotations

from collections.abc import Sequence


def of_words(words: Sequence[str], first: int, unknown: int):
    """Word -> its number, int32, from `first` on; a table of nothing must have a word that there is not."""
    import tensorflow as tf

    words = words or ("",)
    with tf.init_scope():
        keys = tf.constant([word.encode() for word in words])
        numbers = tf.range(first, first + len(words), dtype=tf.int32)
        return filled(tf.lookup.KeyValueTensorInitializer(keys, numbers), unknown)


def filled(initializer, default):
    """A table that `initializer` fills at once.

    TensorFlow notes the operation that does so, None outside of graphs, for every later graph, and then warns of each
    that is written.
    """
    import tensorflow as tf

    table = tf.lookup.StaticHashTable(initializer, default)
    noted = tf.compat.v1.get_collection_ref(tf.compat.v1.GraphKeys.TABLE_INITIALIZERS)
    noted[:] = [operation for operation in noted if operation is not None]
    return table
