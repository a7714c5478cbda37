"""TFLite flatbuffers of batch 1, from the deployed inputs of a task to its deployed outputs."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import keras

from cnn_app.export import graph
from cnn_app.export.targets import Target
from cnn_app.layers import LocalResponseNormalization, WordTable, captions, spectra
from cnn_app.names import DEFAULT
from cnn_app.quiet import native_silence
from cnn_app.tasks import Task
from cnn_app.tensors import Arrays

OPERATORS = {  # that the activations of a type run in
    "int8": "TFLITE_BUILTINS_INT8",
    "int16": "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8",
}

IN_FLOAT = (*spectra.IN_FLOAT, *captions.IN_FLOAT)


def obstacle(model: keras.Model, target: Target) -> str:
    """A layer that TFLite has no kernel for in the target's types, if there is one."""
    if target.activations != "int16":
        return ""
    strange = (layer for layer in model.layers if isinstance(layer, (LocalResponseNormalization, WordTable, *IN_FLOAT)))
    return next((f"{layer.name} ({type(layer).__name__})" for layer in strange), "")


def write(task: Task, model: keras.Model, path: Path, target: Target, calibration: Arrays | None) -> None:
    """calibration: real records as the deployed network takes them, which set the ranges of integer activations."""
    if target.calibrated and _in_float(task, task.deployed(model)):
        data = Calibrated(task, model, target, calibration).quantized()
    else:
        with tempfile.TemporaryDirectory() as saved, silence():
            data = converter(task, model, saved, target, calibration).convert()
    path.write_bytes(float_probabilities(data) if target.calibrated else data)


def write_alone(serve, part: keras.Model, path: Path, target: Target) -> None:
    """A part of a network in float; `serve` as graph.alone makes it, of batch 1."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as saved, silence():
        graph.write(saved, part, {DEFAULT: serve}, [])
        made = tf.lite.TFLiteConverter.from_saved_model(saved)
        if target.weights == "float16":
            made.optimizations, made.target_spec.supported_types = [tf.lite.Optimize.DEFAULT], [tf.float16]
        path.write_bytes(made.convert())


class Calibrated:
    """A network with the ranges of its activations, from which int8 files are made quickly."""

    def __init__(self, task: Task, model: keras.Model, target: Target, calibration: Arrays | None):
        deployed = task.deployed(model)
        self.layers = {layer.name for layer in deployed.layers}
        self.given = given_type(task)
        with tempfile.TemporaryDirectory() as saved, silence():
            made = converter(task, model, saved, target, calibration)
            made._experimental_calibrate_only = True  # what the public debugger sets, too
            self.data = made.convert()
        self.outputs, kept = self._outputs(), _in_float(task, deployed)
        self.in_float = {tensor for tensor in self.outputs if self.layer(tensor) in kept}

    def quantized(self, in_float: Iterable[str] = ()) -> bytes:
        """The int8 file; what gives the tensors `in_float`, or belongs to a layer of IN_FLOAT, stays in float32."""
        from tensorflow.lite.python.convert import mlir_quantize

        kept = sorted(self.in_float | {*in_float})
        with silence():
            return mlir_quantize(self.data, input_data_type=self.given, denylisted_nodes=kept)

    def consumers(self, tensors: set[str]) -> set[str]:
        """What is computed from these tensors; else they would be rounded all the same."""
        return {name for name, taken in self.outputs.items() if tensors & taken}

    def layer(self, tensor: str) -> str:
        """The layer whose scope a tensor's name starts with; TensorFlow may have put a number behind it.

        What the file gives has no such name: its layer is that of the weights it is computed by.
        """
        weights = sorted(self.outputs.get(tensor, set()) - set(self.outputs))
        for place in (tensor, *weights):
            parts = place.split(";")[0].split("/")
            if names := [name for part in parts for name in (part, part.rpartition("_")[0]) if name in self.layers]:
                return names[0]
        return tensor

    def _outputs(self) -> dict[str, set[str]]:
        """Each tensor that is computed, and those that it is computed from."""
        from ai_edge_litert.tools import flatbuffer_utils as utils

        graph = utils.read_model_from_bytearray(bytearray(self.data)).subgraphs[0]
        names = [tensor.name.decode() for tensor in graph.tensors]
        return {names[made]: {names[taken] for taken in operator.inputs if taken >= 0}
                for operator in graph.operators for made in operator.outputs}  # fmt: skip


def _in_float(task: Task, model: keras.Model) -> set[str]:
    """Layers that compute in float in a file of integers."""
    return {layer.name for layer in model.layers if isinstance(layer, IN_FLOAT) or layer.name in task.in_float}


def given_type(task: Task):
    """What an int8 file takes: pixels as bytes, all else as it is."""
    import tensorflow as tf

    return tf.uint8 if any(spec.dtype == "uint8" for spec in task.input.specs().values()) else tf.float32


def write_trained(task: Task, model: keras.Model, path: Path) -> None:
    """The int8 file of a model that knows its ranges, as `simulation.rangeful` makes it."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as saved, silence():
        graph.save(task, model, saved, batch=1, as_float=True)
        made = tf.lite.TFLiteConverter.from_saved_model(saved)
        made.optimizations, made.inference_input_type = [tf.lite.Optimize.DEFAULT], tf.uint8
        data = made.convert()
    path.write_bytes(float_probabilities(data))


def converter(task: Task, model: keras.Model, saved: str, target: Target, calibration: Arrays | None):
    """TensorFlow's converter for `target`, of the model that is written into the folder `saved` for it."""
    import tensorflow as tf

    if target.calibrated:
        graph.check_calibration(task, calibration)
    # A quantized file takes uint8 by its own quantized input; the others cast it.
    graph.save(task, model, saved, batch=1, as_float=target.calibrated)
    made = tf.lite.TFLiteConverter.from_saved_model(saved)
    if target.weights != "float32":
        made.optimizations = [tf.lite.Optimize.DEFAULT]
    if target.weights == "float16":
        made.target_spec.supported_types = [tf.float16]
    if target.weights == "int8" and not target.calibrated:  # by channel it would take a runtime of 2.17
        made._experimental_disable_per_channel_quantization_for_dense_layers = True
    if target.calibrated:
        made.representative_dataset = lambda: records(task.input.calibration(calibration))
        made.target_spec.supported_ops = [getattr(tf.lite.OpsSet, OPERATORS[target.activations])]
        if any(tensor.dtype == "float32" for tensor in model.inputs):
            made.inference_input_type = given_type(task) if target.activations == "int8" else tf.float32
    return made


def records(arrays: Arrays) -> Iterator[Arrays]:
    """One after the other, each with a batch axis of one."""
    for i in range(len(next(iter(arrays.values())))):
        yield {name: array[i : i + 1] for name, array in arrays.items()}


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


def float_probabilities(data: bytes) -> bytes:
    """Move each softmax or sigmoid behind the dequantization that alone reads it.

    XNNPACK has no int8 softmax, and int8 probabilities come in steps of 1/256. With float ones a file's
    operators all run in one delegate and small probabilities survive.
    """
    from ai_edge_litert.tools import flatbuffer_utils as utils

    model = utils.read_model_from_bytearray(bytearray(data))
    graph, codes = model.subgraphs[0], [code.builtinCode for code in model.operatorCodes]
    known = utils.schema_fb.BuiltinOperator
    makers = {tensor: place for place, operator in enumerate(graph.operators) for tensor in operator.outputs}
    for place, dequantize in enumerate(graph.operators):
        before = makers.get(dequantize.inputs[0], place)
        last = graph.operators[before]
        kinds = [codes[operator.opcodeIndex] for operator in (last, dequantize)]
        if kinds not in ([known.SOFTMAX, known.DEQUANTIZE], [known.LOGISTIC, known.DEQUANTIZE]):
            continue
        logits, scores, result = last.inputs[0], last.outputs[0], dequantize.outputs[0]
        if sum(scores in operator.inputs for operator in graph.operators) > 1:
            continue
        tensor = graph.tensors[scores]  # was int8 probabilities, becomes float logits
        tensor.type, tensor.quantization = utils.schema_fb.TensorType.FLOAT32, None
        dequantize.inputs, dequantize.outputs = [logits], [scores]
        last.inputs, last.outputs = [scores], [result]
        graph.operators[before], graph.operators[place] = dequantize, last
    return bytes(utils.convert_object_to_bytearray(model))
