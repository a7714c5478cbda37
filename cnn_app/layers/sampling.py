"""Codes that are distributions: draws from them, and how far they are from the prior."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("cnn_app")
class GaussianSampling(keras.layers.Layer):
    """Means and log variances (N, d) -> mean + deviation * noise (N, d) in training, else the mean itself.

    So gradients reach both (arXiv:1312.6114, section 2.4). The noise is drawn by a generator whose state is saved with
    the weights, so that a resumed run draws what it would have drawn.
    """

    def __init__(self, seed=None, **options):
        super().__init__(**options)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=None):
        mean, log_variance = inputs
        if not training:
            return mean
        noise = keras.random.normal(ops.shape(mean), dtype=mean.dtype, seed=self.seed_generator)
        return mean + ops.exp(log_variance / 2) * noise

    def compute_output_shape(self, shapes):
        return shapes[0]

    def get_config(self):
        return super().get_config() | {"seed": self.seed}


@keras.saving.register_keras_serializable("cnn_app")
class GaussianDivergence(keras.layers.Layer):
    """Means and log variances (N, d) -> `weight` times the KL divergence from the standard normal distribution, (N,).

    In nats, summed over the d numbers (arXiv:1312.6114, appendix B).
    """

    def __init__(self, weight=1.0, **options):
        super().__init__(**options)
        self.weight = weight

    def call(self, inputs):
        mean, log_variance = inputs
        return self.weight * 0.5 * ops.sum(ops.square(mean) + ops.exp(log_variance) - 1.0 - log_variance, -1)

    def compute_output_shape(self, shapes):
        return shapes[0][:-1]

    def get_config(self):
        return super().get_config() | {"weight": self.weight}
