"""ONNX, opset 17, from the deployed inputs of a task to its deployed outputs, for any batch."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import keras

from cnn_app.export import graph
from cnn_app.export.targets import Target
from cnn_app.export.tflite import records
from cnn_app.tasks import Task
from cnn_app.tensors import Arrays

OPSET = 17


def write(task: Task, model: keras.Model, path: Path, target: Target, calibration: Arrays | None) -> None:
    """calibration: real records as the deployed network takes them, which set the ranges of integer activations."""
    proto = converted(graph.endpoint(task, model, batch=None))
    if target.calibrated:
        graph.check_calibration(task, calibration)
        proto = quantized(proto, calibration)
    path.write_bytes(proto.SerializeToString())


def write_alone(serve, part: keras.Model, path: Path, target: Target) -> None:
    """A part of a network; `serve` as graph.alone makes it, of any batch."""
    path.write_bytes(converted(serve).SerializeToString())


def converted(serve):
    """A tf.function as ONNX."""
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)  # it warns of every harmless rewrite
    return tf2onnx.convert.from_function(serve, input_signature=serve.input_signature, opset=OPSET)[0]


def quantized(proto, calibration: Arrays):
    """`proto` with int8 weights, each channel by its own scale, and int8 activations between float operators (QDQ).

    Weights take 7 of the 8 bits: x86 without VNNI adds pairs of products in 16, which larger ones overflow.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    waiting = records(calibration)

    class Reader(quantization.CalibrationDataReader):
        def get_next(self):
            return next(waiting, None)

    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, done = (str(Path(folder) / f"{name}.onnx") for name in ("plain", "prepared", "done"))
        onnx.save(proto, plain)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        softmax = [node.name for node in onnx.load(prepared).graph.node if node.op_type == "Softmax"]  # stays float
        quantization.quantize_static(
            prepared, done, Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
            reduce_range=True, nodes_to_exclude=softmax,
        )  # fmt: skip
        return onnx.load(done)
