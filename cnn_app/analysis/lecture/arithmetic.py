"""What single layers compute, by running them."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from keras import layers

from cnn_app.analysis.complexity import multiply_adds
from cnn_app.analysis.lecture import Topic

KERNELS = {  # as the lecture shows them: smoothing, second derivative, first derivatives
    "Gaussian-like": [[1, 2, 1], [2, 4, 2], [1, 2, 1]],
    "Laplacian": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
    "Sobel, across": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "Sobel, down": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
}
POOLED = [[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]]


def convolution() -> Topic:
    edge = np.zeros((1, 5, 6, 1), np.float32)
    edge[:, :, 3:] = 16
    rows = []
    for name, kernel in KERNELS.items():
        scaled = np.array(kernel, np.float32) / (16 if name == "Gaussian-like" else 1)
        rows.append((name, _matrix(kernel), f"{np.sum(kernel)}", _row(_filtered(edge, scaled)[0, 1, :, 0])))
    return Topic(
        "Convolution as spatial filtering",
        ("filter", "kernel", ">sum of taps", "a step 0 0 0 16 16 16 becomes"), rows,
        ("A layer correlates: the kernel is not turned, which of these changes the sign of Sobel's alone.",
         "A kernel whose taps add up to 0 answers nothing where pixels are equal; the Gaussian-like one is divided by "
         "its sum, 16."), _draw_filters,
    )  # fmt: skip


def output_volume() -> Topic:
    taken = keras.Input((32, 32, 3))
    layer = layers.Conv2D(6, 5)
    shape = "x".join(map(str, layer(taken).shape[1:]))
    padded = [side // stride for side, stride in ((32, 1), (32, 2))]
    rows = [
        ("32x32x3, 6 filters of 5x5", "28x28x6", shape),
        ("parameters, with 6 biases", "", f"{layer.count_params():,}"),
        ("multiply-adds", "", f"{multiply_adds(layer):,}"),
        ("the same, 2 zeros on each side", "", f"{padded[0]}x{padded[0]}x6"),
        ("the same, at stride 2", "", f"{padded[1]}x{padded[1]}x6"),
    ]
    return Topic("Output volume: (side + 2 padding - kernel) / stride + 1", ("layer", "lecture", "here"), rows)


def pooling() -> Topic:
    pixels = np.array(POOLED, np.float32)[None, ..., None]
    rows = []
    for name, said, layer in (("largest", "[[6, 8], [3, 4]]", layers.MaxPooling2D(2)),
                              ("mean", "", layers.AveragePooling2D(2))):  # fmt: skip
        rows.append((f"{name} of 2x2, stride 2", said, _matrix(np.asarray(layer(pixels))[0, ..., 0])))
    return Topic(f"Pooling of {_matrix(POOLED)}", ("pool", "lecture", "here"), rows)


def one_by_one() -> Topic:
    """The same numbers by a 1x1 convolution and by a fully connected layer at each position."""
    draw = np.random.default_rng(0)
    maps, kernel = draw.normal(size=(1, 8, 8, 64)).astype(np.float32), draw.normal(size=(64, 32)).astype(np.float32)
    convolved = np.asarray(keras.ops.conv(maps, kernel[None, None]))
    apart = np.abs(convolved - np.asarray(keras.ops.matmul(maps, kernel))).max()
    whole = draw.normal(size=(1, 7, 7, 16)).astype(np.float32)
    dense = draw.normal(size=(7 * 7 * 16, 10)).astype(np.float32)
    large = np.asarray(keras.ops.conv(whole, dense.reshape(7, 7, 16, 10)))[0, 0, 0]
    other = np.abs(large - whole.reshape(-1) @ dense).max()
    rows = [
        ("1x1 convolution, 64 to 32 channels", "an MLP at each position", f"{apart:.0e} apart at most"),
        ("fully connected layer on 7x7x16", "a filter of 7x7", f"{other:.0e} apart at most"),
    ]
    rows = [(*row[:2], "equal" if np.allclose(one, 0, atol=1e-3) else row[2])
            for row, one in zip(rows, (apart, other), strict=True)]  # fmt: skip
    return Topic("1x1 convolutions, and fully connected layers as filters", ("layer", "lecture: is", "here"), rows)


def transposed() -> Topic:
    """What it gives, and that it is the transpose of a convolution's matrix."""
    layer = layers.Conv2DTranspose(1, 3, 2, padding="valid", use_bias=False, kernel_initializer="ones")
    layer(keras.Input((2, 2, 1)))
    given = np.asarray(layer(np.array([[1, 2], [3, 4]], np.float32)[None, ..., None]))[0, ..., 0]
    units = np.eye(25, dtype=np.float32).reshape(25, 5, 5, 1)
    forward = np.asarray(keras.ops.conv(units, np.ones((3, 3, 1, 1), np.float32), 2)).reshape(25, 4).T  # its matrix
    equal = np.allclose(forward.T @ [1, 2, 3, 4], given.ravel())
    rows = [
        ("[[1, 2], [3, 4]], 3x3 of ones, stride 2", _matrix(given)),
        ("the transposed matrix of that convolution gives", "the same" if equal else "something else"),
        ("multiply-adds, 2x2 inputs of 9 taps", f"{multiply_adds(layer)}"),
    ]
    return Topic(
        "Transposed convolution",
        ("what", "here"),
        rows,
        ("Outputs that several windows reach are summed, which is where the checkerboard comes from.",),
    )


def _filtered(pixels: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return np.asarray(keras.ops.conv(pixels, kernel[..., None, None]))


def _matrix(values) -> str:
    lines = (f"[{_row(row, ', ')}]" for row in values)
    return f"[{', '.join(lines)}]"


def _row(values, between: str = " ") -> str:
    return between.join(f"{float(value):g}" for value in values)


def _draw_filters(path: Path) -> None:
    """On a drawn picture."""
    from cnn_app.analysis.sheets import draw_images, signed
    from cnn_app.data.shapes import draw

    colours = draw("star", np.random.default_rng(3))
    grey = colours.mean(-1, keepdims=True)
    names, images = ["image"], [colours]
    for name, kernel in KERNELS.items():
        found = _filtered(grey[None].astype(np.float32), np.array(kernel, np.float32))[0]
        images.append((found / 16).astype(np.uint8) if name == "Gaussian-like" else signed(found))
        names.append(name)
    draw_images(images, names, "Filters of 3x3; grey is 0 where there are negative values", path)
