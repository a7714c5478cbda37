"""TFLite flatbuffers of batch 1: uint8 pixels (1, H, W, C) -> float32 probabilities (1, classes)."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np

from cnn_app.export import graph
from cnn_app.export.targets import Target
from cnn_app.layers import LocalResponseNormalization
from cnn_app.quiet import native_silence

OPERATORS = {  # that the activations of a type run in
    "int8": "TFLITE_BUILTINS_INT8",
    "int16": "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8",
}


def obstacle(model: keras.Model, target: Target) -> str:
    """A layer that TFLite has no kernel for in the target's types, if there is one."""
    if target.activations != "int16":
        return ""
    strange = (layer.name for layer in model.layers if isinstance(layer, LocalResponseNormalization))
    return next((f"{name} (LocalResponseNormalization)" for name in strange), "")


def write(model: keras.Model, path: Path, target: Target, calibration: np.ndarray | None) -> None:
    """calibration: real uint8 images (n, H, W, C), which set the ranges of integer activations."""
    with tempfile.TemporaryDirectory() as saved, silence():
        data = converter(model, saved, target, calibration).convert()
    path.write_bytes(float_softmax(data) if target.calibrated else data)


def write_trained(model: keras.Model, path: Path) -> None:
    """The int8 file of a model that knows its ranges, as `simulation.rangeful` makes it."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as saved, silence():
        graph.save(model, saved, batch=1, dtype="float32")
        made = tf.lite.TFLiteConverter.from_saved_model(saved)
        made.optimizations, made.inference_input_type = [tf.lite.Optimize.DEFAULT], tf.uint8
        data = made.convert()
    path.write_bytes(float_softmax(data))


def converter(model: keras.Model, saved: str, target: Target, calibration: np.ndarray | None):
    """TensorFlow's converter for `target`, of the model that is written into the folder `saved` for it."""
    import tensorflow as tf

    if target.calibrated:
        graph.check_calibration(model, calibration)
    # A quantized file takes uint8 by its own quantized input; the others cast it.
    graph.save(model, saved, batch=1, dtype="float32" if target.calibrated else "uint8")
    made = tf.lite.TFLiteConverter.from_saved_model(saved)
    if target.weights != "float32":
        made.optimizations = [tf.lite.Optimize.DEFAULT]
    if target.weights == "float16":
        made.target_spec.supported_types = [tf.float16]
    if target.weights == "int8" and not target.calibrated:  # by channel it would take a runtime of 2.17
        made._experimental_disable_per_channel_quantization_for_dense_layers = True
    if target.calibrated:
        images = whole_range(calibration)
        made.representative_dataset = lambda: ({"image": image[None]} for image in images)
        made.target_spec.supported_ops = [getattr(tf.lite.OpsSet, OPERATORS[target.activations])]
        made.inference_input_type = tf.uint8 if target.activations == "int8" else tf.float32
    return made


@contextmanager
def silence() -> Iterator[None]:
    """The converter talks on standard error, and warns of the interpreter that it calibrates with."""
    with warnings.catch_warnings(), native_silence():
        warnings.simplefilter("ignore", UserWarning)
        yield


def min_runtime(path: Path) -> str:
    """The lowest version of the interpreter that has all operators of a file, as its converter noted it."""
    from ai_edge_litert.tools import flatbuffer_utils as utils

    model = utils.read_model(str(path))
    notes = {note.name: bytes(model.buffers[note.buffer].data) for note in model.metadata}
    return notes[b"min_runtime_version"].rstrip(b"\0").decode()


def whole_range(images: np.ndarray) -> np.ndarray:
    """Float32 images of which the first reaches from 0 to 255 in two corner pixels.

    So the input's scale is exactly 1 and a pixel's byte is its quantized value, whatever the images' contrast.
    """
    images = images.astype(np.float32)
    images[0, 0, 0], images[0, 0, -1] = 0, 255
    return images


def float_softmax(data: bytes) -> bytes:
    """Move the last softmax behind the dequantization.

    XNNPACK has no int8 softmax, and int8 probabilities come in steps of 1/256. With float ones a file's
    operators all run in one delegate and small probabilities survive.
    """
    from ai_edge_litert.tools import flatbuffer_utils as utils

    model = utils.read_model_from_bytearray(bytearray(data))
    graph, codes = model.subgraphs[0], [code.builtinCode for code in model.operatorCodes]
    softmax, dequantize = graph.operators[-2:]
    kinds = [codes[operator.opcodeIndex] for operator in (softmax, dequantize)]
    expected = [utils.schema_fb.BuiltinOperator.SOFTMAX, utils.schema_fb.BuiltinOperator.DEQUANTIZE]
    assert kinds == expected, "an int8 classifier ends in softmax and dequantize"
    logits, scores, result = softmax.inputs[0], softmax.outputs[0], dequantize.outputs[0]
    tensor = graph.tensors[scores]  # was int8 probabilities, becomes float logits
    tensor.type, tensor.quantization = utils.schema_fb.TensorType.FLOAT32, None
    dequantize.inputs, dequantize.outputs = [logits], [scores]
    softmax.inputs, softmax.outputs = [scores], [result]
    graph.operators[-2:] = [dequantize, softmax]
    return bytes(utils.convert_object_to_bytearray(model))
