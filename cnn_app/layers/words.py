"""Words as vectors. Tensors are (N, words) and (N, words, width)."""

import keras
from keras import ops

PADDING = 0  # the id of what is behind, or in front of, a sentence


@keras.saving.register_keras_serializable("cnn_app")
class WordTable(keras.layers.Layer):
    """Ids (N, words) -> their rows of a table, whose row 0, the padding, is zero and stays it; `fixed`: none learns.

    column: which of the ids a word is told by, where they are several, (N, words, ids).
    What is exported is a gather: no mask is computed, for training sets the row to zero behind each step.
    """

    def __init__(self, words, width, *, reach=0.25, fixed=False, column=None, **base):
        super().__init__(**base)
        self.words, self.width, self.reach, self.fixed, self.column = words, width, reach, fixed, column

    def build(self, shape):
        self.table = self.add_weight(
            shape=(self.words, self.width), initializer=self._uniform, constraint=PaddingIsZero(),
            trainable=not self.fixed, name="table",
        )  # fmt: skip

    def _uniform(self, shape, dtype=None):
        return PaddingIsZero()(keras.initializers.RandomUniform(-self.reach, self.reach)(shape, dtype))

    def call(self, ids):
        return ops.take(self.table, ids if self.column is None else ids[..., self.column], axis=0)

    def compute_output_shape(self, shape):
        return (*(shape if self.column is None else shape[:-1]), self.width)

    def get_config(self):
        own = ("words", "width", "reach", "fixed", "column")
        return super().get_config() | {name: getattr(self, name) for name in own}


@keras.saving.register_keras_serializable("cnn_app")
class WordsThere(keras.layers.Layer):
    """Ids (N, words, ids) -> 1 for each word and 0 for padding, float32 (N, words)."""

    def call(self, ids):
        return ops.cast(ids[..., 0] != PADDING, "float32")

    def compute_output_shape(self, shape):
        return shape[:-1]

    def compute_output_spec(self, ids):
        return keras.KerasTensor(ids.shape[:-1], "float32")


@keras.saving.register_keras_serializable("cnn_app")
class PaddingIsZero(keras.constraints.Constraint):
    """Sets row 0 of a table to zero."""

    def __call__(self, w):
        kept = ops.cast(ops.arange(w.shape[0]) != PADDING, w.dtype)
        return ops.multiply(w, ops.expand_dims(kept, -1))
