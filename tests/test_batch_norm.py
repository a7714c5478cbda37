"""The fused layer gives Keras's own numbers: outputs, moving statistics and gradients."""

import keras
import numpy as np
import pytest

from cnn_app.layers import FusedBatchNormalization


@pytest.mark.parametrize("shape", [(8, 6, 5, 3), (2, 1, 1, 4), (1, 9, 9, 16)])
def test_training_equals_keras(shape):
    import tensorflow as tf

    x = tf.random.normal(shape, 3.0, 2.0, seed=1)
    weight = tf.random.normal(shape, seed=2)
    results = []
    for kind in (FusedBatchNormalization, keras.layers.BatchNormalization):
        layer = kind(momentum=0.9, epsilon=1e-3)
        layer.build(shape)
        layer.set_weights([np.linspace(0.5, 2, shape[-1]), np.linspace(-1, 1, shape[-1]), *layer.get_weights()[2:]])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(y * weight)
        gradients = tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])
        results.append([y, *gradients, layer.moving_mean, layer.moving_variance, layer(x, training=False)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=1e-3, atol=2e-4)


def test_frozen_it_follows_its_moving_statistics():
    layer = FusedBatchNormalization(epsilon=0.0)
    layer.build((2, 3, 3, 1))
    layer.set_weights([np.ones(1), np.zeros(1), np.full(1, 2.0), np.full(1, 4.0)])
    layer.trainable = False
    np.testing.assert_allclose(np.asarray(layer(np.full((2, 3, 3, 1), 6.0, "float32"), training=True)), 2.0)
    assert [float(weight[0]) for weight in layer.get_weights()] == [1, 0, 2, 4]


def test_half_precision_falls_back_to_keras():
    layer = FusedBatchNormalization(dtype="mixed_float16")
    y = layer(np.random.default_rng(0).normal(size=(4, 5, 5, 2)), training=True)
    assert y.dtype == "float16" and abs(float(np.asarray(y, np.float32).mean())) < 1e-2
