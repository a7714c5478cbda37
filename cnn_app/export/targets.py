"""What can be shipped. Pure data: the CLI offers these names without TensorFlow."""

from dataclasses import dataclass

from cnn_app.artifacts import ModelDir
from cnn_app.errors import ExportError, unknown
from cnn_app.serving import store


@dataclass(frozen=True, kw_only=True)
class Target:
    about: str
    module: str  # in cnn_app.export
    weights: str = "float32"
    activations: str = "float32"

    @property
    def calibrated(self) -> bool:
        """Whether real images must set its ranges."""
        return self.activations != "float32"


TARGETS = {
    "saved_model": Target(module="saved_model", about="TF Serving; any batch"),
    "tflite-float32": Target(module="tflite", about="phones, no quantization"),
    "tflite-float16": Target(module="tflite", about="phones' GPUs, half the size", weights="float16"),
    "tflite-int8": Target(
        module="tflite", about="phones' CPUs and NPUs, a quarter of the size", weights="int8", activations="int8"
    ),
    "tflite-dynamic": Target(module="tflite", about="a quarter of the size, activations in float", weights="int8"),
    "tflite-int16x8": Target(
        module="tflite", about="where int8 loses too much: activations of 16 bits", weights="int8", activations="int16"
    ),
    "onnx": Target(module="onnx", about="ONNX Runtime and what imports ONNX; any batch"),
    "onnx-int8": Target(module="onnx", about="ONNX Runtime, a quarter of the size", weights="int8", activations="int8"),
}


def target(name: str) -> Target:
    if name not in TARGETS:
        raise unknown("export target", name, TARGETS, ExportError)
    return TARGETS[name]


def place(directory: ModelDir, name: str):
    """Where target `name` of a model directory belongs; a SavedModel gets the next version number."""
    if name == "saved_model":
        return directory.serving / str(max(store.versions(directory.serving), default=0) + 1)
    if target(name).module == "onnx":
        return directory.onnx / f"{directory.name}{name.removeprefix('onnx')}.onnx"
    return directory.mobile / f"{directory.name}-{name.removeprefix('tflite-')}.tflite"
