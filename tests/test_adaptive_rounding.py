"""Kernels rounded for what they read: against every rounding there is, and on layers of every kind."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers

from cnn_app.export.quantization import adaptive_rounding
from cnn_app.layers import FakeQuantKernel, GroupedConv2D

LAYERS = [
    layers.Conv2D(6, 3, padding="same"),
    layers.Conv2D(6, (3, 2), strides=2, padding="valid"),
    layers.Conv2D(6, 3, dilation_rate=2, padding="same"),
    layers.DepthwiseConv2D(3, padding="same"),
    layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2),
    GroupedConv2D(12, 3, groups=4, use_bias=True),
    GroupedConv2D(12, 3, groups=2, strides=2, padding="valid", dilation=1),
    layers.Dense(60),
]


def maps(n=8, side=14, channels=8):
    """Smooth maps whose channels depend on each other, as those behind a ReLU."""
    draw = np.random.default_rng(0)
    coarse = draw.normal(size=(n, side // 2, side // 2, 3)) @ draw.normal(size=(3, channels))
    return np.maximum(coarse.repeat(2, 1).repeat(2, 2), 0).astype(np.float32)


def error(layer, x, wanted):
    """The variance of what changed, mean over channels: the mean is left to the bias."""
    return np.var(np.asarray(layer(x)) - wanted, axis=(0, 1, 2)).mean()


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_a_layer_gives_more_nearly_what_it_gave(layer):
    """Than with each value rounded by itself, on maps that were not seen; scales and biases stay."""
    x = maps()
    keras.utils.set_random_seed(0)
    layer.build(x.shape)
    kernel, *bias = layer.get_weights()
    wanted = np.asarray(layer(x[4:]))
    held = FakeQuantKernel(layer, lambda: 1e-4)
    layer.set_weights([np.asarray(held.held()[0]), *bias])
    by_itself = error(layer, x[4:], wanted)
    layer.set_weights([kernel, *bias])
    adaptive_rounding.round_kernel(layer, [x[:2], x[2:4]])
    rounded, *left = layer.get_weights()
    assert error(layer, x[4:], wanted) < 0.9 * by_itself
    np.testing.assert_allclose(np.asarray(held.held()[0]), rounded, rtol=1e-5, atol=1e-7)  # the file rounds no more
    axes = (0, 1) if isinstance(layer, layers.DepthwiseConv2D) else tuple(range(kernel.ndim - 1))
    np.testing.assert_allclose(np.abs(rounded).max(axes), np.abs(kernel).max(axes), rtol=1e-6)
    for one, other in zip(left, bias, strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_comes_near_the_best_of_all_roundings():
    """Of six values, each rounded up or down; the largest sets the scale."""
    draw, found = np.random.default_rng(1), []
    for _ in range(20):
        kernel = draw.normal(0, 0.02, (6, 1))
        kernel[draw.integers(6)] = 1.27  # steps of 0.01
        mixed = draw.normal(size=(500, 2)) @ draw.normal(size=(2, 6)) + draw.normal(0, 0.1, (500, 6))
        covariance = np.cov(mixed, rowvar=False)
        harms = []
        for up in itertools.product((0, 1), repeat=6):
            taken = (np.floor(kernel[:, 0] / 0.01 + 1e-9) + up) * 0.01
            if taken.max() < 1.275:
                harms.append((taken - kernel[:, 0]) @ covariance @ (taken - kernel[:, 0]))
        rounded = adaptive_rounding.rounded_rows(kernel[None], covariance[None])[0, :, 0]
        by_itself = np.round(kernel[:, 0] / 0.01) * 0.01
        np.testing.assert_allclose(rounded / 0.01, np.round(rounded / 0.01), atol=1e-6)
        harm = [(taken - kernel[:, 0]) @ covariance @ (taken - kernel[:, 0]) for taken in (rounded, by_itself)]
        found.append((harm[0] / min(harms), harm[1] / min(harms)))
    ours, plain = np.median(found, axis=0)
    assert ours < 3 and ours < 0.5 * plain


def test_values_that_depend_on_nothing_are_rounded_by_themselves():
    kernel = np.random.default_rng(0).normal(size=(1, 300, 4))
    scale = np.abs(kernel).max(1, keepdims=True) / 127
    rounded = adaptive_rounding.rounded_rows(kernel, np.eye(300)[None])
    np.testing.assert_allclose(rounded, np.round(kernel / scale) * scale, atol=1e-9)


def test_blocks_change_nothing(monkeypatch):
    draw = np.random.default_rng(0)
    kernel, seen = draw.normal(size=(2, 40, 3)), draw.normal(size=(2, 200, 40)) @ draw.normal(size=(40, 40))
    covariance = seen.transpose(0, 2, 1) @ seen / 200
    whole = adaptive_rounding.rounded_rows(kernel, covariance)
    monkeypatch.setattr(adaptive_rounding, "BLOCK", 7)
    np.testing.assert_allclose(adaptive_rounding.rounded_rows(kernel, covariance), whole, atol=1e-9)


def test_a_kernel_with_too_many_inputs_is_left_to_the_file(monkeypatch):
    layer = layers.Dense(3)
    layer.build((None, 8))
    before = layer.get_weights()[0]
    monkeypatch.setattr(adaptive_rounding, "MOST_INPUTS", 7)
    adaptive_rounding.round_kernel(layer, [np.ones((4, 8), np.float32)])
    np.testing.assert_array_equal(layer.get_weights()[0], before)
