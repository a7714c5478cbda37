"""Normalizations that Keras lacks or runs slowly."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("cnn_app")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch normalization with scale and center, by TensorFlow's fused kernel while it trains.

    The same numbers as Keras's own, which takes two to three times as long on a CPU: benchmarks/batch_normalization.py.
    """

    def call(self, inputs, training=None, mask=None):
        fusible = mask is None and inputs.dtype == "float32" and len(inputs.shape) in (4, 5)
        if not (training and self.trainable and fusible and keras.backend.backend() == "tensorflow"):
            return super().call(inputs, training=training, mask=mask)
        images = ops.reshape(inputs, (-1, *inputs.shape[-3:]))  # of clips their frames
        outputs, mean, variance = _tensorflow_batch_norm(images, self.gamma, self.beta, self.epsilon)
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + value * (1 - self.momentum))
        return ops.reshape(outputs, (-1, *inputs.shape[1:]))


@keras.saving.register_keras_serializable("cnn_app")
class LocalResponseNormalization(keras.layers.Layer):
    """x / (k + alpha * s) ** beta, s the sum of x**2 over the `size` channels around (AlexNet's paper, section 3.3).

    Alpha as in the paper and in TensorFlow; Caffe and PyTorch divide theirs by `size`. Their k is 1, the paper's 2.
    """

    def __init__(self, size=5, *, alpha=1e-4, beta=0.75, k=2.0, **base):
        super().__init__(**base)
        assert size % 2 == 1, f"a window of {size} channels has no middle"
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def call(self, x):
        if keras.backend.backend() == "tensorflow":
            return _tensorflow_lrn(x, self.size, self.alpha, self.beta, self.k)
        return plain_lrn(x, self.size, self.alpha, self.beta, self.k)

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return super().get_config() | {name: getattr(self, name) for name in ("size", "alpha", "beta", "k")}


def plain_lrn(x, size, alpha, beta, k):
    """LocalResponseNormalization on any backend."""
    channels, around = x.shape[-1], size // 2
    squares = ops.pad(ops.square(x), (*((0, 0),) * (len(x.shape) - 1), (around, around)))
    near = sum(squares[..., i : i + channels] for i in range(size))
    return ops.divide(x, ops.power(k + alpha * near, beta))


def _tensorflow_batch_norm(x, gamma, beta, epsilon):
    """Normalized x (N, H, W, C) with its mean and variance (C,), the variance over n as Keras has it, not n - 1."""
    import tensorflow as tf

    none = tf.zeros((0,))
    normalized = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=tf.convert_to_tensor(gamma),
        offset=tf.convert_to_tensor(beta),
        mean=none,
        variance=none,
        epsilon=epsilon,
    )
    count = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), tf.float32)
    return normalized.y, normalized.batch_mean, normalized.batch_variance * ((count - 1) / count)


def _tensorflow_lrn(x, size, alpha, beta, k):
    """One operation, as in TFLite and ONNX; in float32, for it knows no bfloat16 and squares overflow float16."""
    import tensorflow as tf

    y = tf.nn.local_response_normalization(tf.cast(x, tf.float32), size // 2, k, alpha, beta)
    return tf.cast(y, x.dtype)
