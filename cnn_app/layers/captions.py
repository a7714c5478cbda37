"""Words one after the other, by layers that were trained with the true ones in front. Ids are of a vocabulary."""

import keras
from keras import ops

END, UNKNOWN = 0, 1  # ids: what stands in front of and behind a caption, and a word that is in no vocabulary
NEVER = -1e9  # logarithm of the probability of what is not to be said


@keras.saving.register_keras_serializable("cnn_app")
class GreedyWords(keras.layers.Layer):
    """Codes of images (N, width) -> at each of `length` places the word that is most probable behind those before it.

    Gives `tokens`, int32 (N, length), and `scores`, their logarithmic probabilities (N, length). What is behind the
    end is END of score 0; the end itself is scored, an unknown word and a caption without words are never said.
    table, lstm, scorer: of the trained network, ids -> (N, width) -> (N, units) -> (N, words).
    """

    def __init__(self, table, lstm, scorer, length, **base):
        super().__init__(**base)
        self.table, self.lstm, self.scorer, self.length = table, lstm, scorer, length

    def build(self, shape):
        """Its layers have their weights."""

    def begun(self, code):
        """What the cell remembers of an image: (N, units) twice."""
        return self._state(ops.matmul(code, self.lstm.cell.kernel), None)

    def step(self, words, state):
        """Words (N,) and what is remembered -> logarithmic probabilities of the next one (N, words), and so on."""
        hidden, memory = state
        given = ops.matmul(self.table(words), self.lstm.cell.kernel)
        state = self._state(given + ops.matmul(hidden, self.lstm.cell.recurrent_kernel), memory)
        return ops.log_softmax(self.scorer(state[0]), -1), state

    def _state(self, given, memory):
        """Of the LSTM, by its gates without their bias (N, 4 units). Keras's cell splits them, and an operator of
        several results cannot be kept in float in an int8 file.
        """
        cell, units = self.lstm.cell, self.lstm.units
        add, keep, new, tell = (given[:, start : start + units] + cell.bias[start : start + units]
                                for start in range(0, 4 * units, units))  # fmt: skip
        added = ops.sigmoid(add) * ops.tanh(new)
        memory = added if memory is None else added + ops.sigmoid(keep) * memory
        return [ops.sigmoid(tell) * ops.tanh(memory), memory]

    def call(self, code):
        words = ops.zeros((ops.shape(code)[0],), "int32")
        running, state, tokens, scores = ops.ones_like(words), self.begun(code), [], []
        for place in range(self.length):
            found, state = self.step(words, state)
            best, words = first_best(found + silenced(found.shape[-1], place == 0))
            words = words * running
            tokens.append(words)
            scores.append(best * ops.cast(running, found.dtype))
            running = running * ops.cast(words > END, "int32")
        return {"tokens": ops.stack(tokens, 1), "scores": ops.stack(scores, 1)}

    def compute_output_spec(self, code):
        shape = (code.shape[0], self.length)
        return {"tokens": keras.KerasTensor(shape, "int32"), "scores": keras.KerasTensor(shape, code.dtype)}


def first_best(found):
    """The largest of each row (N, words), and its place. Keras's argmax has no kernel in TFLite."""
    best = ops.max(found, -1, keepdims=True)
    places = ops.convert_to_tensor(list(range(found.shape[-1])), found.dtype)
    words = ops.min(ops.where(found >= best, places, float(found.shape[-1])), -1)
    return best[:, 0], ops.cast(words, "int32")


def silenced(words: int, first: bool):
    """What is added to logarithmic probabilities (N, words), so that nobody says what nobody says."""
    kept = [NEVER if place == UNKNOWN or (first and place == END) else 0.0 for place in range(words)]
    return ops.convert_to_tensor(kept, "float32")


IN_FLOAT = (GreedyWords,)  # a rounded word is another word, and what is remembered is added up at each place
