"""Between probabilities and logits."""

import keras

LEAST = 1e-7  # probability that has a logarithm


@keras.saving.register_keras_serializable("cnn_app")
class LogProbabilities(keras.Layer):
    """Logits whose softmax are the probabilities (n, classes) that come in."""

    def call(self, probabilities):
        return keras.ops.log(keras.ops.maximum(probabilities, LEAST))
