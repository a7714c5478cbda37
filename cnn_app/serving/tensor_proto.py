"""Arrays <-> TF Serving's TensorProto, without TensorFlow being installed."""

from __future__ import annotations

import numpy as np

from cnn_app.errors import ServingError
from cnn_app.serving import messages_pb2 as messages
from cnn_app.tensors import name_of

TYPES = {  # number, and the field for values that are not sent as one piece of content
    "float32": (messages.DT_FLOAT, "float_val"),
    "float64": (messages.DT_DOUBLE, "double_val"),
    "int32": (messages.DT_INT32, "int_val"),
    "uint8": (messages.DT_UINT8, "int_val"),
    "uint16": (messages.DT_UINT16, "int_val"),
    "int16": (messages.DT_INT16, "int_val"),
    "int8": (messages.DT_INT8, "int_val"),
    "string": (messages.DT_STRING, "string_val"),
    "int64": (messages.DT_INT64, "int64_val"),
    "bool": (messages.DT_BOOL, "bool_val"),
    "uint32": (messages.DT_UINT32, "uint32_val"),
    "uint64": (messages.DT_UINT64, "uint64_val"),
}
NAMES = {number: name for name, (number, _) in TYPES.items()}


def fill(message: messages.TensorProto, value: np.ndarray) -> None:
    """Write an array into `message`; strings are an array of bytes objects, or of text."""
    name = name_of(value.dtype)
    message.dtype = TYPES[name][0]
    for side in value.shape:
        message.tensor_shape.dim.add(size=side)
    if name == "string":
        message.string_val.extend(one.encode() if isinstance(one, str) else one for one in value.ravel().tolist())
    else:
        message.tensor_content = np.ascontiguousarray(value, value.dtype.newbyteorder("<")).tobytes()


def array(message: messages.TensorProto) -> np.ndarray:
    """The values of `message`. A last value stands for all that are not there.

    Raises ServingError for types that are not known, and for values that do not fit type or shape.
    """
    if message.dtype not in NAMES:
        raise ServingError(f"a tensor of type {message.dtype} came, which is not known here; known: {', '.join(TYPES)}")
    name = NAMES[message.dtype]
    shape = [dim.size for dim in message.tensor_shape.dim]
    if min(shape, default=0) < 0:
        raise ServingError(f"a tensor of shape {shape} came; its sides must be known")
    try:
        if message.tensor_content:
            return np.frombuffer(message.tensor_content, np.dtype(name).newbyteorder("<")).reshape(shape)
        return _repeated(getattr(message, TYPES[name][1]), name, shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise ServingError(f"the values of a {name} tensor do not fit its type and shape {shape}: {error}") from error


def _repeated(given, name: str, shape: list[int]) -> np.ndarray:
    count, strings = int(np.prod(shape, dtype=int)), name == "string"
    if len(given) > count or (count and not given):
        raise ValueError(f"{len(given)} of {count}")
    found = np.empty(count, object if strings else name)
    if count:
        for start in range(0, len(given), PIECE):
            piece = given[start : start + PIECE]
            found[start : start + len(piece)] = piece
        found[len(given) :] = given[-1]
    return found.reshape(shape)


PIECE = 2**14  # values that are converted while no other thread can run
