import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from cnn_app.analysis.complexity import multiply_adds
from cnn_app.architectures.lenet import C3_TABLE
from cnn_app.layers import (
    ChannelScale,
    ChannelShuffle,
    ChannelSplit,
    GroupedConv2D,
    LocalResponseNormalization,
    NearestUpSampling2D,
    PadShortcut,
    TableConv2D,
    block_diagonal,
    merged_blocks,
    plain_lrn,
)


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize(("strides", "dilation"), [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("channels", "filters", "groups"), [(12, 24, 3), (32, 64, 8), (64, 64, 32), (48, 24, 2)])
def test_grouped_convolution_equals_a_convolution_of_each_part(
    channels, filters, groups, kernel_size, strides, dilation, padding
):
    x = np.random.default_rng(0).normal(size=(2, 7, 7, channels)).astype("float32")
    outputs = []
    for lowering in ("blocks", "native"):
        keras.utils.set_random_seed(1)
        layer = GroupedConv2D(filters, kernel_size, strides=strides, padding=padding, dilation=dilation, groups=groups,
                              use_bias=True, lowering=lowering)  # fmt: skip
        outputs.append(np.asarray(layer(x)))
        assert layer.compute_output_shape(x.shape) == outputs[-1].shape
    kernels = np.split(np.asarray(layer.kernel), groups, axis=-1)
    parts = [
        ops.conv(part, kernel, strides, padding, "channels_last", dilation)
        for part, kernel in zip(np.split(x, groups, axis=-1), kernels, strict=True)
    ]
    expected = np.concatenate([np.asarray(part) for part in parts], axis=-1)
    for output in outputs:
        np.testing.assert_allclose(output, expected, atol=1e-4)


@pytest.mark.parametrize("dilation", [1, 2])
def test_grouped_convolution_learns_like_its_parts(dilation):
    """The gradient of merged blocks reaches the grouped kernel, and nothing leaks between groups."""
    import tensorflow as tf

    x = tf.random.normal((2, 5, 5, 16))
    gradients = []
    for lowering in ("blocks", "auto"):
        keras.utils.set_random_seed(1)
        layer = GroupedConv2D(16, 3, dilation=dilation, groups=8, lowering=lowering)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x) ** 2)
        gradients.append(tape.gradient(loss, layer.kernel.value).numpy())
    np.testing.assert_allclose(*gradients, atol=1e-4)
    assert np.abs(gradients[0]).min() > 0


def test_a_grouped_convolution_is_saved_with_all_that_it_is():
    layer = GroupedConv2D(8, 3, strides=1, padding="valid", dilation=2, groups=4, use_bias=True, lowering="blocks")
    x = np.random.default_rng(0).normal(size=(1, 9, 9, 4)).astype("float32")
    expected = np.asarray(layer(x))
    again = GroupedConv2D.from_config(layer.get_config())
    again.build(x.shape)
    again.set_weights(layer.get_weights())
    assert expected.shape == (1, 5, 5, 8)
    np.testing.assert_array_equal(again(x), expected)


def test_block_diagonal_kernel_by_hand():
    kernel = np.arange(1, 9, dtype="float32").reshape(1, 1, 1, 8)  # 4 groups of one channel with two filters
    first, second = (np.asarray(part)[0, 0] for part in block_diagonal(ops.convert_to_tensor(kernel), 4, 2))
    np.testing.assert_array_equal(first, [[1, 2, 0, 0], [0, 0, 3, 4]])
    np.testing.assert_array_equal(second, [[5, 6, 0, 0], [0, 0, 7, 8]])


@pytest.mark.parametrize(
    ("groups", "channels", "blocks"), [(32, 128, 8), (32, 256, 16), (32, 1024, 32), (3, 240, 3), (3, 24, 1), (7, 14, 1)]
)
def test_groups_merge_into_blocks_of_sixteen_channels(groups, channels, blocks):
    assert merged_blocks(groups, channels) == blocks


def test_channel_shuffle_by_hand():
    x = np.arange(6, dtype="float32").reshape(1, 1, 1, 6)  # groups (0, 1), (2, 3), (4, 5)
    np.testing.assert_array_equal(np.asarray(ChannelShuffle(3)(x)).ravel(), [0, 2, 4, 1, 3, 5])


def test_channel_split_by_hand():
    x = np.arange(6, dtype="float32").reshape(1, 1, 1, 6)
    parts = ChannelSplit(3)(x)
    assert [np.asarray(part).ravel().tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize(("before", "expected"), [(0, [1, 2, 0, 0]), (1, [0, 1, 2, 0])])
def test_pad_shortcut_by_hand(before, expected):
    x = np.zeros((1, 4, 4, 2), "float32")
    x[0, ::2, ::2] = [1, 2]  # only even positions are kept
    y = np.asarray(PadShortcut(4, 2, before=before)(x))
    assert y.shape == (1, 2, 2, 4)
    np.testing.assert_array_equal(y.reshape(-1, 4), [expected] * 4)


def test_table_convolution_by_hand():
    """Map 0 sees the first input, map 1 both."""
    layer = TableConv2D(((0,), (0, 1)), 1)
    layer.build((None, 3, 3, 2))
    layer.set_weights([np.array([[[2, 3, 5]]]), np.array([7, 11])])
    y = np.asarray(layer(np.full((1, 3, 3, 2), [1.0, 10.0], "float32")))
    np.testing.assert_array_equal(y, np.full((1, 3, 3, 2), [2 * 1 + 7, 3 * 1 + 5 * 10 + 11]))


def test_table_convolution_is_a_convolution_with_zeros_where_nothing_is_connected():
    layer = TableConv2D(C3_TABLE, 5, activation="tanh")
    x = np.random.default_rng(0).normal(size=(2, 14, 14, 6)).astype("float32")
    y = np.asarray(layer(x))
    assert layer.compute_output_shape(x.shape) == y.shape == (2, 10, 10, 16)
    kernel, connections = np.zeros((5, 5, 6, 16), "float32"), iter(np.moveaxis(np.asarray(layer.kernel), -1, 0))
    for output, row in enumerate(C3_TABLE):
        for i in row:
            kernel[:, :, i, output] = next(connections)
    np.testing.assert_allclose(y, np.tanh(ops.conv(x, kernel, data_format="channels_last")), atol=1e-5)


def test_what_the_layers_of_1998_weigh_and_cost():
    """Table I connects 6 x 3 + 9 x 4 + 6 = 60 pairs of maps: 60 x 25 + 16 weights, 60 x 25 taps at 100 positions."""
    assert sum(map(len, C3_TABLE)) == 60
    x = keras.Input((14, 14, 6))
    convolution, scale = TableConv2D(C3_TABLE, 5), ChannelScale()
    scale(convolution(x))
    assert (convolution.count_params(), multiply_adds(convolution)) == (1516, 150_000)
    assert (scale.count_params(), multiply_adds(scale)) == (2 * 16, 0)


def test_channel_scale_by_hand():
    layer = ChannelScale()
    x = np.full((1, 2, 2, 2), [1.0, 10.0], "float32")
    np.testing.assert_array_equal(np.asarray(layer(x)), x)
    layer.set_weights([np.array([2, 3]), np.array([5, 7])])
    np.testing.assert_array_equal(np.asarray(layer(x)), np.full((1, 2, 2, 2), [2 * 1 + 5, 3 * 10 + 7]))


def test_local_response_normalization_by_hand():
    x = np.array([1, 2, 3], "float32").reshape(1, 1, 1, 3)  # the squares around: 1+4, 1+4+9, 4+9
    expected = [1 / (1 + 2 * 5) ** 2, 2 / (1 + 2 * 14) ** 2, 3 / (1 + 2 * 13) ** 2]
    layer = LocalResponseNormalization(3, alpha=2.0, beta=2.0, k=1.0)
    for y in (layer(x), plain_lrn(x, 3, 2.0, 2.0, 1.0)):
        np.testing.assert_allclose(np.asarray(y).ravel(), expected, rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_local_response_normalization_in_half_precision(policy):
    """1000 squared is beyond float16."""
    x = np.array([1000, 2000, 3000], "float32").reshape(1, 1, 1, 3)
    y = ops.cast(LocalResponseNormalization(3, alpha=2.0, beta=0.5, k=1.0, dtype=policy)(x), "float32")
    np.testing.assert_allclose(np.asarray(y).ravel(), [10**-0.5, 2 * 28**-0.5, 3 * 26**-0.5], rtol=0.01)


@pytest.mark.parametrize(("size", "channels"), [(5, 96), (3, 4), (5, 2)])
def test_local_response_normalization_equals_pytorch(size, channels):
    """PyTorch divides alpha by the size."""
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(0, 30, (2, 3, 4, channels)).astype("float32")
    y = torch.nn.LocalResponseNorm(size, alpha=0.01, beta=0.75, k=2.0)(torch.from_numpy(x.transpose(0, 3, 1, 2)))
    layer = LocalResponseNormalization(size, alpha=0.01 / size)
    for ours in (layer(x), plain_lrn(x, size, 0.01 / size, 0.75, 2.0)):
        np.testing.assert_allclose(np.asarray(ours), y.numpy().transpose(0, 2, 3, 1), rtol=1e-4)


@pytest.mark.parametrize(
    "layer",
    [
        GroupedConv2D(8, 3, groups=2, strides=2, name="g"),
        ChannelShuffle(2, name="s"),
        ChannelSplit(2, name="c"),
        PadShortcut(8, 2, name="p"),
        TableConv2D(C3_TABLE, 5, activation="tanh", name="t"),
        ChannelScale(name="a"),
        LocalResponseNormalization(3, alpha=1e-3, name="n"),
    ],
)
def test_layers_survive_their_config(layer):
    copy = layer.__class__.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()


@pytest.mark.slow
@pytest.mark.parametrize("onednn", ["0", "1"])
def test_grouped_convolution_trains_with_and_without_native_kernels(onednn):
    """Without oneDNN TensorFlow has no grouped gradients on a CPU: then blocks are taken, also while tracing."""
    code = """
import numpy as np, tensorflow as tf
from cnn_app.layers import GroupedConv2D
layer = GroupedConv2D(8, 3, groups=2)
layer.build((None, 5, 5, 4))
@tf.function
def gradient(x):
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(layer(x) ** 2)
    return tape.gradient(y, layer.kernel.value)
print(float(tf.reduce_sum(tf.abs(gradient(tf.ones((1, 5, 5, 4)))))) > 0)
"""
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": onednn, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "True", done.stderr[-500:]


@pytest.mark.parametrize("size", [2, (1, 3)])
def test_nearest_upsampling_equals_keras(size):
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")
    expected = keras.layers.UpSampling2D(size)
    np.testing.assert_array_equal(NearestUpSampling2D(size)(x), expected(x))
    inputs = keras.Input((3, 4, 5))
    assert NearestUpSampling2D(size)(inputs).shape == expected(inputs).shape
