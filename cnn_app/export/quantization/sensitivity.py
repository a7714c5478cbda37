"""Which layers int8 hurts: what the network answers when one operator alone is quantized, and the noise of each.

Noise is measured by TensorFlow's quantization debugger, which runs an operator in int8 and in float32 on the same
inputs. Harm is measured on the answers: noise in a channel that nobody reads does none.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from cnn_app.atomic import write_csv
from cnn_app.export import tflite
from cnn_app.export.targets import target
from cnn_app.runtimes.tflite import TFLiteRuntime, interpreter_class
from cnn_app.tasks import Task
from cnn_app.tensors import Arrays

DEBUGGED = 24  # records


@dataclass(frozen=True)
class LayerError:
    layer: str  # of the Keras model
    tensor: str  # the operator's output in the flatbuffer
    snr_db: float  # 10 log10 of the power of its float output over that of the error
    sensitivity: (
        float  # by how much probabilities move when it alone is quantized: half the sum of changes, mean over images
    )


class Sensitivity:
    """Of a network's operators, and int8 files with the worst of them in float."""

    def __init__(self, task: Task, model: keras.Model, records: Arrays):
        self.records = {name: array[:DEBUGGED] for name, array in records.items()}
        self.calibrated = tflite.Calibrated(task, model, target("tflite-int8"), records)

    def errors(self) -> list[LayerError]:
        """Every operator, the most sensitive first."""
        noise = self._noise()
        whole = self._answers(set(noise))
        found = [
            LayerError(self.calibrated.layer(tensor), tensor, snr, _moved(self._answers(set(noise) - {tensor}), whole))
            for tensor, snr in noise.items()
        ]
        return sorted(found, key=lambda error: -error.sensitivity)

    def file(self, kept: Iterable[LayerError]) -> bytes:
        """The int8 file in which what gives and what takes the tensors of `kept` computes in float32."""
        tensors = {error.tensor for error in kept}
        return tflite.float_probabilities(self.calibrated.quantized(tensors | self.calibrated.consumers(tensors)))

    def _answers(self, in_float: set[str]) -> Arrays:
        with tflite.silence():
            runtime = TFLiteRuntime(interpreter_class()(model_content=self.calibrated.quantized(in_float)))
            return runtime.run(self.records)

    def _noise(self) -> dict[str, float]:
        """Tensor name -> signal-to-noise ratio in dB."""
        import tensorflow as tf
        from tensorflow.lite.python.convert import mlir_quantize

        options = tf.lite.experimental.QuantizationDebugOptions(layer_direct_compare_metrics={"snr": _snr})
        known = self.calibrated
        with tflite.silence():
            content = mlir_quantize(known.data, fully_quantize=True, enable_numeric_verify=True,
                                    denylisted_nodes=sorted(known.in_float))  # fmt: skip
            taken = _rounded(self.records, interpreter_class()(model_content=content).get_input_details())
            debugger = tf.lite.experimental.QuantizationDebugger(
                quant_debug_model_content=content,
                debug_dataset=lambda: (list(record.values()) for record in tflite.records(taken)),
                debug_options=options,
            )  # fmt: skip
            debugger.run()
        table = io.StringIO()
        debugger.layer_statistics_dump(table)
        return {row["tensor_name"]: float(row["snr"]) for row in csv.DictReader(io.StringIO(table.getvalue()))}


def _rounded(records: Arrays, inputs: list[dict]) -> Arrays:
    """As a file of integers takes them; the debugger itself forgets those whose zero is 0."""
    scales = {one["name"].partition("serving_default_")[2].partition(":")[0]: one for one in inputs}
    found = {}
    for name, array in records.items():
        scale, zero = scales[name]["quantization"]
        floats = array.astype(np.float32) if array.dtype == np.uint8 else array
        found[name] = np.clip(np.round(floats / scale) + zero, -128, 127).astype(np.int8) if scale else floats
    return found


def write_report(path: Path, errors: Iterable[LayerError]) -> None:
    """A CSV: a line for each operator, the most sensitive first."""
    rows = [{"layer": error.layer, "sensitivity": f"{error.sensitivity:.6f}", "snr_db": f"{error.snr_db:.2f}",
             "tensor": error.tensor}
            for error in errors]  # fmt: skip
    write_csv(path, rows)


def _moved(found: Arrays, whole: Arrays) -> float:
    """Half the sum of changes of each distribution, mean over distributions and outputs that are no places."""
    return float(np.mean([np.abs(array - whole[name]).sum(-1).mean() / 2 for name, array in found.items()
                          if array.dtype.kind == "f"]))  # fmt: skip


def _snr(wanted: np.ndarray, found: np.ndarray, scale: float, zero: int) -> float:
    error = (found.astype(np.float64) - zero) * scale - wanted
    signal, lost = np.square(wanted, dtype=np.float64).sum(), np.square(error).sum()
    return 10 * np.log10(max(signal, 1e-30) / max(lost, 1e-30))
