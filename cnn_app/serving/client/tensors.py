"""The few messages of TF Serving's gRPC API that a client needs, byte for byte, without TensorFlow being installed.

The official stubs import TensorFlow. Numbers are those of tensorflow_serving/apis and tensorflow/core/framework.
"""

from __future__ import annotations

import numpy as np
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

FIELD = FieldDescriptorProto
SERVICE = "/tensorflow.serving.PredictionService"
DTYPES = {  # number, and the field for values that are not sent as one piece of content
    "float32": (1, "float_val"), "float64": (2, "double_val"), "int32": (3, "int_val"), "uint8": (4, "int_val"),
    "int16": (5, "int_val"), "int8": (6, "int_val"), "string": (7, "string_val"), "int64": (9, "int64_val"),
    "bool": (10, "bool_val"),
}  # fmt: skip
NAMES = {number: name for name, (number, _) in DTYPES.items()}
SCALARS = {"int64": FIELD.TYPE_INT64, "int32": FIELD.TYPE_INT32, "bool": FIELD.TYPE_BOOL, "string": FIELD.TYPE_STRING,
           "bytes": FIELD.TYPE_BYTES, "float": FIELD.TYPE_FLOAT, "double": FIELD.TYPE_DOUBLE}  # fmt: skip
# Name, then "number type name"; `*` means repeated, `map` a map from strings.
MESSAGES = {
    "Dim": "1 int64 size",
    "Shape": "2 *Dim dim",
    "Tensor": "1 int32 dtype, 2 Shape tensor_shape, 4 bytes tensor_content, 5 *float float_val, 6 *double double_val, "
    "7 *int32 int_val, 8 *bytes string_val, 10 *int64 int64_val, 11 *bool bool_val",
    "Number": "1 int64 value",
    "ModelSpec": "1 string name, 2 Number version, 3 string signature_name, 4 string version_label",
    "PredictRequest": "1 ModelSpec model_spec, 2 map:Tensor inputs, 3 *string output_filter",
    "PredictResponse": "1 map:Tensor outputs, 2 ModelSpec model_spec",
    "MetadataRequest": "1 ModelSpec model_spec, 2 *string metadata_field",
    "Any": "1 string type_url, 2 bytes value",
    "MetadataResponse": "1 ModelSpec model_spec, 2 map:Any metadata",
    "Info": "2 int32 dtype",
    "Signature": "1 map:Info inputs, 2 map:Info outputs",
    "Signatures": "1 map:Signature signature_def",
}


def _file() -> FileDescriptorProto:
    found = FileDescriptorProto(name="cnn_app/serving.proto", package="cnn_app", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = found.message_type.add(name=name)
        for number, kind, field in (line.split() for line in fields.split(", ")):
            _add(message, int(number), kind, field)
    return found


def _add(message: DescriptorProto, number: int, kind: str, name: str) -> None:
    repeated = kind.startswith(("*", "map:"))
    added = message.field.add(
        name=name, number=number, label=FIELD.LABEL_REPEATED if repeated else FIELD.LABEL_OPTIONAL
    )
    if kind.startswith("map:"):
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add(entry, 1, "string", "key")
        _add(entry, 2, kind.removeprefix("map:"), "value")
        added.type, added.type_name = FIELD.TYPE_MESSAGE, f".cnn_app.{message.name}.{entry.name}"
    elif kind.lstrip("*") in SCALARS:
        added.type = SCALARS[kind.lstrip("*")]
    else:
        added.type, added.type_name = FIELD.TYPE_MESSAGE, f".cnn_app.{kind.lstrip('*')}"


def _classes() -> dict:
    pool = DescriptorPool()
    pool.Add(_file())
    return {name: GetMessageClass(pool.FindMessageTypeByName(f"cnn_app.{name}")) for name in MESSAGES}


CLASSES = _classes()


def fill(message, value: np.ndarray) -> None:
    """Write an array into a Tensor; strings are an array of bytes objects."""
    strings = value.dtype.kind in "OS"
    message.dtype = DTYPES["string" if strings else value.dtype.name][0]
    for side in value.shape:
        message.tensor_shape.dim.add(size=side)
    if strings:
        message.string_val.extend(value.ravel().tolist())
    else:
        message.tensor_content = value.astype(value.dtype.newbyteorder("<")).tobytes()


def array(message) -> np.ndarray:
    """The values of a Tensor. A last value stands for all that are not there."""
    name = NAMES[message.dtype]
    shape = [dim.size for dim in message.tensor_shape.dim]
    if message.tensor_content:
        return np.frombuffer(message.tensor_content, np.dtype(name).newbyteorder("<")).reshape(shape)
    values = list(getattr(message, DTYPES[name][1]))
    count = int(np.prod(shape, dtype=int))
    values += values[-1:] * (count - len(values))
    found = np.empty(count, object if name == "string" else name)
    found[:] = values
    return found.reshape(shape)
