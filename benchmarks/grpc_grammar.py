"""gRPC requests for the models of `toys`: right ones, nearly right ones and wrong ones, by a source of choices.

That is a `random.Random`, or Hypothesis's, which makes smaller what it has found.
"""

from __future__ import annotations

import base64
import re
from random import Random

import numpy as np
import tensorflow as tf
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
    regression_pb2,
)
from toys import CLASSIFY, REGRESS, SIDE

MESSAGES = {
    "Predict": predict_pb2.PredictRequest,
    "Classify": classification_pb2.ClassificationRequest,
    "Regress": regression_pb2.RegressionRequest,
    "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
    "GetModelStatus": get_model_status_pb2.GetModelStatusRequest,
}
CODES = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}
LEAK = re.compile(r"\w(Error|Exception)\b|Traceback|Graph execution error|<class |object at 0x|\.py\b|[\r\n]")
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAIAQMAAAD+wSzIAAAABlBMVEX///+/v7+jQ3Y5AAAADklEQVQI12P4AIX8EAgALgAD/aNpbtEAAAAASUVO"
    "RK5CYII="
)
WORDS = ("", "pixels", "examples", "words", "image", "image_bytes", "text", "x", "y", "inputs", "serving_default",
         "signature_def", "features", CLASSIFY, REGRESS, "probabilities", "a" * 300, "\0", "\u00e9\U0001f600", "../..",
         "stable", "\x7f\x1b[31m", "%s{0}")  # fmt: skip
INTEGERS = (0, 1, -1, 2, 3, 8, 127, 255, 256, -129, 2**31 - 1, -(2**31), 2**32, 2**62, 2**63 - 1, -(2**63))
FLOATS = (0.0, 1.0, -0.5, 1e-45, 1e38, float("inf"), float("-inf"), float("nan"))
KIND = FieldDescriptor


def call(random: Random) -> tuple[str, bytes]:
    """A method and the message for it."""
    method = random.choice([*MESSAGES])
    message = right(random, method)
    for _ in range(random.randrange(4)):
        spoil(message, random)
    data = message.SerializeToString()
    return method, mutated(data, random) if likely(random, 30) else data


def right(random: Random, method: str) -> Message:
    """A request that gets an answer."""
    found = MESSAGES[method]()
    spec = found.model_spec
    if method in ("Classify", "Regress"):
        spec.name, spec.signature_name = "examples", CLASSIFY if method == "Classify" else REGRESS
        example = tf.train.Example()
        example.features.feature["x"].float_list.value.append(1)
        if likely(random, 50):
            found.input.example_list.examples.extend([example] * random.choice((1, 3)))
        else:
            found.input.example_list_with_context.context.CopyFrom(example)
            found.input.example_list_with_context.examples.add()
        return found
    spec.name = random.choice(("pixels", "examples", "words"))
    if method == "GetModelMetadata":
        found.metadata_field.append("signature_def")
    elif method == "Predict":
        name, value, spec.signature_name = {
            "pixels": ("image", np.zeros((1, SIDE, SIDE, 3), np.uint8), ""),
            "examples": ("x", np.float32([1, 2]), "serving_default"),
            "words": ("text", np.array([b"a", b"bc"], object), "text"),
        }[spec.name]
        if spec.name == "pixels" and likely(random, 50):
            name, value, spec.signature_name = "image_bytes", np.array([PNG], object), "image_bytes"
        found.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return found


def spoil(message: Message, random: Random) -> None:
    """Put something else into one field, of the message or of one inside."""
    field = random.choice(message.DESCRIPTOR.fields)
    there = [value for which, value in message.ListFields() if which.message_type]
    if there and likely(random, 70):
        value = random.choice(there)
        if isinstance(value, Message):
            return spoil(value, random)
        inside = list(value.values()) if hasattr(value, "values") else list(value)
        if inside and isinstance(inside[0], Message):
            return spoil(random.choice(inside), random)
    if likely(random, 30):
        message.ClearField(field.name)
    put(message, field, random, 3)


def put(message: Message, field, random: Random, depth: int) -> None:
    """Any value of the field's type; several where it takes several."""
    entry = field.message_type and field.message_type.GetOptions().map_entry
    if entry:
        key, value = field.message_type.fields
        place = getattr(message, field.name)
        for _ in range(random.randrange(1, 4)):
            if value.message_type:
                fill(place[scalar(key, random)], random, depth - 1)
            else:
                place[scalar(key, random)] = scalar(value, random)
    elif field.is_repeated:
        place = getattr(message, field.name)
        for _ in range(random.choice((0, 1, 2, 9))):
            if field.message_type:
                fill(place.add(), random, depth - 1)
            else:
                place.append(scalar(field, random))
    elif field.message_type:
        inside = getattr(message, field.name)
        inside.SetInParent()
        fill(inside, random, depth - 1)
    else:
        setattr(message, field.name, scalar(field, random))


def fill(message: Message, random: Random, depth: int) -> None:
    for field in message.DESCRIPTOR.fields:
        if depth > 0 and likely(random, 40):
            put(message, field, random, depth)


def scalar(field, random: Random):
    kind = field.cpp_type
    if kind == KIND.CPPTYPE_STRING:
        if field.type == KIND.TYPE_STRING:
            return random.choice(WORDS)
        return random.choice((b"", b"\0", PNG, PNG[:40], b"\xff" * 9, bytes(SIDE * SIDE * 3), b"x" * 5000))
    if kind == KIND.CPPTYPE_BOOL:
        return likely(random, 50)
    if kind in (KIND.CPPTYPE_FLOAT, KIND.CPPTYPE_DOUBLE):
        return random.choice(FLOATS)
    signed = kind in (KIND.CPPTYPE_INT32, KIND.CPPTYPE_INT64, KIND.CPPTYPE_ENUM)
    bits = 64 if kind in (KIND.CPPTYPE_INT64, KIND.CPPTYPE_UINT64) else 32
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if kind == KIND.CPPTYPE_ENUM and likely(random, 80):
        return random.choice(field.enum_type.values).number
    return min(max(random.choice(INTEGERS), least), most)


def likely(random: Random, percent: int) -> bool:
    """By a draw of which the least, to which Hypothesis goes back, says no."""
    return random.randrange(100) >= 100 - percent


def mutated(data: bytes, random: Random) -> bytes:
    """Bytes changed, cut, doubled or put in between."""
    found = bytearray(data)
    for _ in range(random.randrange(1, 5)):
        start = random.randrange(len(found) + 1)
        end = min(start + random.choice((1, 2, 8, 300)), len(found))
        part = random.choice(
            (b"", b"\xff", b"\x80\x80\x80\x80\x10", b"\0", bytes(found[start:end]) * 2, b"\xed\xa0\x80")
        )
        found[start:end] = part
    return bytes(found)


def wrong(code: str, details: str) -> str:
    """What is wrong with an answer; "" where nothing is."""
    if code not in CODES or LEAK.search(details or "") or (code != "OK" and not details):
        return f"{code}: {details[:300]}"
    return ""
