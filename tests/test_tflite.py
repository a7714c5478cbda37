"""TFLite files operator by operator: what is computed in float, and what numbers of tensors stand for."""

from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.tools import flatbuffer_utils
from keras import layers

from cnn_app.errors import ArtifactError
from cnn_app.export import tflite
from cnn_app.export.targets import target
from cnn_app.inputs.image import Image
from cnn_app.layers import LocalResponseNormalization
from cnn_app.runtimes.tflite import TFLiteRuntime, dequantized, interpreter_class, open_model, quantized
from cnn_app.tasks.classification import Classification

TASK = Classification(input=Image((8, 8, 3)), labels=("a", "b", "c"))
PIXELS = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3)).astype(np.uint8)
CODES = flatbuffer_utils.schema_fb.BuiltinOperator
TYPES = flatbuffer_utils.schema_fb.TensorType


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, activation="relu", name="first")(layers.Rescaling(1 / 255)(image))
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(image, layers.Dense(3, kernel_initializer="random_normal", name="logits")(x))


@pytest.fixture(scope="module")
def calibrated(network):
    return tflite.Calibrated(TASK, network, target("tflite-int8"), {"image": PIXELS})


def graph_of(data):
    return flatbuffer_utils.read_model_from_bytearray(bytearray(data))


def operators(model):
    return [model.operatorCodes[operator.opcodeIndex].builtinCode for operator in model.subgraphs[0].operators]


def answers(data):
    runtime = TFLiteRuntime(interpreter_class()(model_content=data))
    return runtime.run({name: PIXELS for name in runtime.inputs})


def test_the_last_softmax_of_an_int8_file_is_of_floats(network, tmp_path):
    file = tmp_path / "x.tflite"
    tflite.write(TASK, network, file, target("tflite-int8"), {"image": PIXELS})
    model = graph_of(file.read_bytes())
    graph = model.subgraphs[0]
    assert operators(model)[-2:] == [CODES.DEQUANTIZE, CODES.SOFTMAX]
    last = graph.operators[-1]
    for place in (*last.inputs, *last.outputs):
        tensor = graph.tensors[place]
        assert tensor.type == TYPES.FLOAT32
        assert tensor.quantization is None or tensor.quantization.scale is None
    found = open_model(file).run({"image": PIXELS})["probabilities"]
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)  # in steps of 1/256 they would not
    wanted = keras.ops.softmax(network.predict_on_batch(PIXELS.astype("float32")))
    np.testing.assert_allclose(found, wanted, atol=0.02)


def test_scores_that_something_else_reads_stay_integers():
    image = keras.Input((8, 8, 3), name="image")
    shares = layers.Softmax()(layers.Dense(3)(layers.GlobalAveragePooling2D()(image)))
    model = keras.Model(image, {"shares": shares, "sums": layers.Add()([shares, shares[:, ::-1]])})
    made = tf.lite.TFLiteConverter.from_keras_model(model)
    made.optimizations = [tf.lite.Optimize.DEFAULT]
    made.representative_dataset = lambda: ([image[None].astype("float32")] for image in PIXELS)
    with tflite.silence():
        data = made.convert()
    assert CODES.SOFTMAX in operators(graph_of(data))
    after = tflite.float_probabilities(data)
    assert operators(graph_of(after)) == operators(graph_of(data))
    for name, array in answers(data).items():
        np.testing.assert_array_equal(answers(after)[name], array)


def test_tensors_stay_in_float_where_that_is_asked(calibrated):
    """One operator alone: kernels of the others are of int8."""
    (dense,) = (tensor for tensor in calibrated.outputs if calibrated.layer(tensor) == "logits")

    def kernels(data):
        graph = graph_of(data).subgraphs[0]
        return Counter(tensor.type for tensor in graph.tensors if tensor.buffer and len(tensor.shape) in (2, 4))

    assert kernels(calibrated.quantized())[TYPES.INT8] > kernels(calibrated.quantized([dense]))[TYPES.INT8] > 0
    assert kernels(calibrated.quantized(calibrated.outputs))[TYPES.INT8] == 0


def test_what_reads_a_tensor_and_whose_it_is(calibrated):
    (first,) = (tensor for tensor in calibrated.outputs if calibrated.layer(tensor) == "first")
    assert {calibrated.layer(tensor) for tensor in calibrated.consumers({first})} == {"mean"}


@pytest.mark.parametrize(("dtype", "scale", "zero", "values", "stored"), [
    (np.uint8, 0.5, 10, [-5.0, 0.3, 0.8, 122.5, 200.0, -9.0], [0, 11, 12, 255, 255, 0]),
    (np.int8, 2.0, -3, [-300.0, 0.0, 2.9, 400.0], [-128, -3, -2, 127]),
    (np.int32, 0.0, 0, [3.0, 7.0], [3, 7]),
])  # fmt: skip
def test_numbers_stand_for_others(dtype, scale, zero, values, stored):
    details = {"dtype": dtype, "quantization": (scale, zero)}
    found = quantized(np.array(values), details)
    assert found.dtype == dtype and found.tolist() == stored
    assert quantized(found, details).tolist() == stored  # bytes are taken as they are
    back = dequantized(found, details)
    if not scale:
        assert back is found
        return
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, (np.array(stored) - zero) * scale)


@pytest.mark.parametrize(("kind", "told"), [("tflite-int16x8", "norm (LocalResponseNormalization)"),
                                             ("tflite-int8", ""), ("tflite-float32", "")])  # fmt: skip
def test_a_layer_without_a_kernel_of_16_bits_is_named(kind, told):
    image = keras.Input((8, 8, 3), name="image")
    model = keras.Model(image, LocalResponseNormalization(name="norm")(layers.ReLU()(image)))
    assert tflite.obstacle(model, target(kind)) == told


def test_a_file_without_an_interpreter_is_told(monkeypatch):
    monkeypatch.setattr("cnn_app.runtimes.tflite.INTERPRETERS", ("nobody.has_this",))
    with pytest.raises(ArtifactError, match="no TFLite interpreter is installed; pip install ai-edge-litert"):
        interpreter_class()
