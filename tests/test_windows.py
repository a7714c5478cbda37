"""Windows of every kind, size and step answer in every format as in Keras; a network of many says it at once."""

import itertools
from dataclasses import dataclass

import keras
import numpy as np
import pytest
from keras import layers

from cnn_app.export import graph, onnx, tflite
from cnn_app.export.targets import target
from cnn_app.layers import GroupedConv2D
from cnn_app.runtimes.tflite import TFLiteRuntime, interpreter_class
from cnn_app.tensors import Spec

KERNELS, SIDES, CHANNELS = (1, 2, 3, 4, 5, 7), (7, 8, 9, 11, 12, 15, 16), 8
STEPS = ((1, 1), (1, 2), (1, 3), (2, 1), (3, 1))  # stride and dilation
DILATED = {
    "dense": lambda **kept: layers.Conv2D(CHANNELS, **kept),
    "two groups": lambda **kept: grouped(2, **kept),
    "four groups": lambda **kept: grouped(4, **kept),
    "depthwise": lambda **kept: layers.DepthwiseConv2D(**kept),
    "depthwise, two of each": lambda **kept: layers.DepthwiseConv2D(depth_multiplier=2, **kept),
}
OTHERS = {
    "transposed": lambda dilation_rate, **kept: layers.Conv2DTranspose(CHANNELS, **kept),
    "largest": lambda kernel_size, dilation_rate, **kept: layers.MaxPooling2D(kernel_size, **kept),
    "mean": lambda kernel_size, dilation_rate, **kept: layers.AveragePooling2D(kernel_size, **kept),
}
KINDS = DILATED | OTHERS
DIAGONAL = 11  # every so manieth cell of a kind, each kind from another on: they meet all there is
OFF = {"saved_model": 1e-5, "tflite-float32": 1e-5, "onnx": 1e-5, "tflite-int8": 0.025}  # of the range of the answers


def grouped(groups, *, kernel_size, strides, padding, dilation_rate, name):
    return GroupedConv2D(CHANNELS, kernel_size, strides=strides, padding=padding, dilation=dilation_rate, groups=groups,
                         use_bias=True, name=name)  # fmt: skip


def cells(kind, side):
    """Arguments of all layers of a kind that an image of side x side + 1 has room for."""
    for size, (stride, dilation), padding in itertools.product(KERNELS, STEPS, ("same", "valid")):
        fits = padding == "same" or dilation * (size - 1) < side
        if fits and (dilation == 1 or kind in DILATED):
            yield {"kernel_size": size, "strides": stride, "dilation_rate": dilation, "padding": padding}


@dataclass(frozen=True)
class Taken:
    """What a file takes, as inputs have it."""

    shape: tuple[int, ...]
    plural = "arrays"

    def specs(self):
        return {"image": Spec("uint8", self.shape)}

    def calibration(self, records):
        return {"image": records["image"].astype(np.float32)}


@dataclass(frozen=True)
class Windows:
    """A task whose deployed outputs are those of its network."""

    input: Taken
    in_float = ()

    def deployed(self, model):
        return model


def network(rows, side):
    image = keras.Input((side, side + 1, CHANNELS), name="image")
    pixels = layers.Rescaling(1 / 255)(image)
    outputs = {}
    for number, (kind, row) in enumerate(rows):
        layer = KINDS[kind](name=f"window{number}", **row)
        outputs[f"cell{number}"] = layer(pixels)
    model = keras.Model(image, outputs)
    draw = np.random.default_rng(1)
    for layer in model.layers:
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(draw.normal(0, 0.3, layer.bias.shape))
    return model


def answers(task, model, folder, pixels):
    """Format -> its outputs by name."""
    import onnxruntime
    import tensorflow as tf

    records, deployable = {"image": pixels}, graph.deployable(model)
    graph.save(task, deployable, folder / "saved", batch=None)
    serve = tf.saved_model.load(str(folder / "saved")).signatures["serving_default"]
    yield "saved_model", {name: tensor.numpy() for name, tensor in serve(image=tf.constant(pixels)).items()}
    onnx.write(task, deployable, folder / "network.onnx", target("onnx"), None)
    session = onnxruntime.InferenceSession(str(folder / "network.onnx"))
    names = [output.name for output in session.get_outputs()]
    yield "onnx", dict(zip(names, session.run(names, records), strict=True))
    for kind in ("tflite-float32", "tflite-int8"):
        tflite.write(task, deployable, folder / f"{kind}.tflite", target(kind), records)
        yield kind, TFLiteRuntime(interpreter_class()(model_path=str(folder / f"{kind}.tflite"))).run(records)


def disagreeing(rows, side, folder):
    """(format, kind and arguments, by how much of the range) of every cell that is off."""
    task, model = Windows(Taken((None, side, side + 1, CHANNELS))), network(rows, side)
    pixels = np.random.default_rng(0).integers(0, 256, (8, *task.input.shape[1:])).astype(np.uint8)
    wanted = {name: np.asarray(output) for name, output in model(pixels, training=False).items()}
    for kind, found in answers(task, model, folder, pixels):
        for number, row in enumerate(rows):
            one, other = found[f"cell{number}"], wanted[f"cell{number}"]
            off = np.abs(one - other).max() / np.ptp(other) if one.shape == other.shape else one.shape
            if one.shape != other.shape or not off <= OFF[kind]:
                yield kind, row, off


def test_some_of_each_kind_answer_alike(tmp_path):
    rows = [(kind, row) for kind in OTHERS for row in list(cells(kind, 9))[::5]]
    dilated = [(kind, row) for first, kind in enumerate(DILATED) for row in list(cells(kind, 9))[first::DIAGONAL]]
    rows += dilated
    assert {kind for kind, _ in rows} == set(KINDS)
    assert {row["kernel_size"] for _, row in dilated} == set(KERNELS)
    assert {(row["strides"], row["dilation_rate"]) for _, row in dilated} == set(STEPS)
    assert list(disagreeing(rows, 9, tmp_path)) == []


@pytest.mark.slow
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", KINDS)
def test_all_answer_alike(kind, side, tmp_path):
    """2,700 cells."""
    assert list(disagreeing([(kind, row) for row in cells(kind, side)], side, tmp_path)) == []


def test_the_grid_is_as_large_as_it_says():
    assert sum(len(list(cells(kind, side))) for kind in KINDS for side in SIDES) >= 2700
