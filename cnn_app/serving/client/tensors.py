"""Arrays <-> TF Serving's TensorProto, without TensorFlow being installed."""

from __future__ import annotations

import numpy as np

from cnn_app.errors import ServingError
from cnn_app.serving.client import messages_pb2 as messages

TYPES = {  # number, and the field for values that are not sent as one piece of content
    "float32": (messages.DT_FLOAT, "float_val"),
    "float64": (messages.DT_DOUBLE, "double_val"),
    "int32": (messages.DT_INT32, "int_val"),
    "uint8": (messages.DT_UINT8, "int_val"),
    "int16": (messages.DT_INT16, "int_val"),
    "int8": (messages.DT_INT8, "int_val"),
    "string": (messages.DT_STRING, "string_val"),
    "int64": (messages.DT_INT64, "int64_val"),
    "bool": (messages.DT_BOOL, "bool_val"),
}
NAMES = {number: name for name, (number, _) in TYPES.items()}


def fill(message: messages.TensorProto, value: np.ndarray) -> None:
    """Write an array into `message`; strings are an array of bytes objects."""
    strings = value.dtype.kind in "OS"
    message.dtype = TYPES["string" if strings else value.dtype.name][0]
    for side in value.shape:
        message.tensor_shape.dim.add(size=side)
    if strings:
        message.string_val.extend(value.ravel().tolist())
    else:
        message.tensor_content = value.astype(value.dtype.newbyteorder("<")).tobytes()


def array(message: messages.TensorProto) -> np.ndarray:
    """The values of `message`. A last value stands for all that are not there."""
    if message.dtype not in NAMES:
        raise ServingError(f"the server answers with a tensor of type {message.dtype}, which is not known here")
    name = NAMES[message.dtype]
    shape = [dim.size for dim in message.tensor_shape.dim]
    if message.tensor_content:
        return np.frombuffer(message.tensor_content, np.dtype(name).newbyteorder("<")).reshape(shape)
    values = list(getattr(message, TYPES[name][1]))
    count = int(np.prod(shape, dtype=int))
    values += values[-1:] * (count - len(values))
    found = np.empty(count, object if name == "string" else name)
    found[:] = values
    return found.reshape(shape)
