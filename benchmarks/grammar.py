"""Requests for the models of `toys`: right ones, nearly right ones and wrong ones, by a source of choices.

That is a `random.Random`, or Hypothesis's, which makes smaller what it has found.
"""

from __future__ import annotations

import base64
import json
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
STATUSES = {200, *range(400, 500), 503}
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
DEEP = (3, 90, 110, 900, 20_000)  # lists in lists
KIND = FieldDescriptor


# gRPC: (method, bytes)


def call(random: Random) -> tuple[str, bytes]:
    method = random.choice([*MESSAGES])
    message = right(random, method)
    for _ in range(random.randrange(4)):
        spoil(message, random)
    data = message.SerializeToString()
    return method, mutated(data, random) if random.random() < 0.3 else data


def right(random: Random, method: str) -> Message:
    """A request that gets an answer."""
    found = MESSAGES[method]()
    spec = found.model_spec
    if method in ("Classify", "Regress"):
        spec.name, spec.signature_name = "examples", CLASSIFY if method == "Classify" else REGRESS
        example = tf.train.Example()
        example.features.feature["x"].float_list.value.append(1)
        if random.random() < 0.5:
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
        if spec.name == "pixels" and random.random() < 0.5:
            name, value, spec.signature_name = "image_bytes", np.array([PNG], object), "image_bytes"
        found.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return found


def spoil(message: Message, random: Random) -> None:
    """Put something else into one field, of the message or of one inside."""
    field = random.choice(message.DESCRIPTOR.fields)
    there = [value for which, value in message.ListFields() if which.message_type]
    if there and random.random() < 0.7:
        value = random.choice(there)
        if isinstance(value, Message):
            return spoil(value, random)
        inside = list(value.values()) if hasattr(value, "values") else list(value)
        if inside and isinstance(inside[0], Message):
            return spoil(random.choice(inside), random)
    if random.random() < 0.3:
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
        if depth > 0 and random.random() < 0.4:
            put(message, field, random, depth)


def scalar(field, random: Random):
    kind = field.cpp_type
    if kind == KIND.CPPTYPE_STRING:
        if field.type == KIND.TYPE_STRING:
            return random.choice(WORDS)
        return random.choice((b"", b"\0", PNG, PNG[:40], b"\xff" * 9, bytes(SIDE * SIDE * 3), b"x" * 5000))
    if kind == KIND.CPPTYPE_BOOL:
        return random.random() < 0.5
    if kind in (KIND.CPPTYPE_FLOAT, KIND.CPPTYPE_DOUBLE):
        return random.choice(FLOATS)
    signed = kind in (KIND.CPPTYPE_INT32, KIND.CPPTYPE_INT64, KIND.CPPTYPE_ENUM)
    bits = 64 if kind in (KIND.CPPTYPE_INT64, KIND.CPPTYPE_UINT64) else 32
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if kind == KIND.CPPTYPE_ENUM and random.random() < 0.8:
        return random.choice(field.enum_type.values).number
    return min(max(random.choice(INTEGERS), least), most)


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


# REST: (method, path, body)

TEMPLATES = (
    ("pixels", "predict", {"instances": [[[[1, 2, 3]] * SIDE] * SIDE]}),
    ("pixels", "predict", {"signature_name": "image_bytes", "instances": [{"b64": base64.b64encode(PNG).decode()}]}),
    ("pixels", "predict", {"inputs": {"image": [[[[0] * 3] * SIDE] * SIDE]}}),
    ("examples", "predict", {"instances": [1.0, 2.5]}),
    ("examples", "predict", {"inputs": {"x": [[1], [2]]}}),
    ("words", "predict", {"signature_name": "text", "instances": ["a", "\u00e9"]}),
    ("examples", "classify", {"signature_name": CLASSIFY, "examples": [{"x": 1.0}, {"x": [2.0], "y": "a"}]}),
    ("examples", "regress", {"signature_name": REGRESS, "context": {"x": 1.0}, "examples": [{}, {"z": [1, 2]}]}),
)
KEYS = ("instances", "inputs", "signature_name", "examples", "context", "b64", "x", "image", "text", "\\ud800", "",
        "\\u0000", "outputs")  # fmt: skip
NUMBERS = ("0", "-0", "1", "-1", "255", "256", "1.5", "1e5", "1e400", "-1e400", "1e-400", "9" * 30, "9" * 400, 
           "9" * 5000, "NaN", "Infinity", "-Infinity", "01", "+1", ".5", "1.", "0x10")  # fmt: skip
STRINGS = ('""', '"a"', '"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\\x"', '"\t"', '"' + "a" * 400 + '"', '"\u00e9"',
           '"serving_default"', '"image_bytes"', '"text"', '"AAAA"', '"not base64!"', "'a'", '"')  # fmt: skip
PARTS = ("/versions/1", "/versions/2", "/versions/99", "/versions/99999999999999999999", "/versions/-1", "/labels/stable",
         "/labels/%00", "/labels/%ff%fe", "/labels/" + "a" * 300, "/metadata", "/versions/\u0661")  # fmt: skip


def post(random: Random) -> tuple[str, str, bytes]:
    model, verb, body = random.choice(TEMPLATES)
    method = "POST" if random.random() < 0.95 else random.choice(("GET", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"))
    if random.random() < 0.1:
        model, verb = (
            random.choice(("pixels", "none", "%2e%2e", "a" * 300)),
            random.choice(("predict", "none", "CLASSIFY")),
        )
    part = random.choice(PARTS) if random.random() < 0.15 else ""
    text = json.dumps(body, ensure_ascii=random.random() < 0.5)
    if random.random() < 0.8:
        text = respelled(body, random)
    data = text.encode("utf-8", "surrogatepass")
    if random.random() < 0.2:
        data = mutated(data, random)
    return method, f"/v1/models/{model}{part}:{verb}", data


def respelled(value, random: Random) -> str:
    """JSON for a value, but for a place or two, where any other text may stand."""
    if random.random() < 0.08:
        return anything(random, 4)
    if isinstance(value, dict):
        pairs = [(json.dumps(key), respelled(one, random)) for key, one in value.items()]
        if random.random() < 0.15:
            pairs.append((f'"{random.choice(KEYS)}"', anything(random, 3)))  # perhaps a key that is there already
        return f"{{{', '.join(f'{key}: {one}' for key, one in pairs)}}}"
    if isinstance(value, list):
        few = value[:3]  # of eight equal rows
        return f"[{', '.join([respelled(one, random) for one in few] + [json.dumps(one) for one in value[3:]])}]"
    return json.dumps(value)


def anything(random: Random, depth: int) -> str:
    """Text that is JSON, or nearly."""
    kind = random.randrange(8 if depth else 5)
    if kind == 0:
        return random.choice(NUMBERS)
    if kind == 1:
        return random.choice(STRINGS)
    if kind == 2:
        return random.choice(("true", "false", "null", "None", "[]", "{}", "[[]]", "[{}]"))
    if kind == 3:
        times, core = random.choice(DEEP), random.choice(("", "1", '"a"', "{}"))
        return "[" * times + core + "]" * times
    if kind == 4:
        times = random.choice(DEEP)
        return '{"a":' * times + "1" + "}" * times
    parts = [anything(random, depth - 1) for _ in range(random.randrange(4))]
    if kind == 5:
        return f"{{{', '.join(f'{chr(34)}{random.choice(KEYS)}{chr(34)}: {part}' for part in parts)}}}"
    return f"[{', '.join(parts)}]"


# What is wrong with an answer; "" for nothing


def wrong_call(code: str, details: str) -> str:
    if code not in CODES or LEAK.search(details or "") or (code != "OK" and not details):
        return f"{code}: {details[:300]}"
    return ""


def wrong_answer(status: int, body: bytes) -> str:
    """Errors are {"error": a line}."""
    shown = f"{status}: {body[:300]!r}"
    if status not in STATUSES:
        return shown
    if status == 200:
        return ""
    try:
        found = json.loads(body)
    except ValueError:
        return f"no JSON, {shown}"
    plain = isinstance(found, dict) and list(found) == ["error"] and isinstance(found["error"], str) and found["error"]
    return shown if not plain or LEAK.search(found["error"]) else ""
