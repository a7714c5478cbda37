"""The requests for models of `toys` that cost a server most, by name: none has more than 32 MiB.

Each is made when it is asked for: (method, path, body) for REST, (method, message) for gRPC.
"""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib

import numpy as np
import tensorflow as tf
from grpc_grammar import MESSAGES
from PIL import Image
from toys import CLASSIFY, SIDE

MOST = 31 * 2**20  # bytes
PREDICT = "/v1/models/{}:predict"


def rest() -> dict:
    """Name -> a function that makes the request."""

    def predict(body: bytes, model: str = "pixels") -> tuple:
        return "POST", PREDICT.format(model), body

    def listed(item: str, size: int = MOST, model: str = "pixels") -> tuple:
        items = ",".join([item] * (size // (len(item) + 1)))
        return predict(f'{{"instances":[{items}]}}'.encode(), model)

    def nested(size: int) -> tuple:
        return predict(b'{"instances":' + b"[" * (size // 2) + b"]" * (size // 2) + b"}")

    def keys() -> tuple:
        return predict(f"{{{','.join(f'{chr(34)}{i:07}{chr(34)}:0' for i in range(MOST // 12))}}}".encode())

    def context(model: str = "examples") -> tuple:
        body = {"signature_name": CLASSIFY, "context": {"x": "a" * 900_000}, "examples": [{}] * 3000}
        return "POST", f"/v1/models/{model}:classify", json.dumps(body).encode()

    def images(side: int, count: int, kind=blank) -> tuple:
        rows = [{"b64": base64.b64encode(kind(side)).decode()}] * count
        return predict(json.dumps({"signature_name": "image_bytes", "instances": rows}).encode())

    return {
        "31 MiB of lists": lambda: listed("[]"),
        "0.9 MB of lists": lambda: listed("[]", 900_000),
        "31 MiB of objects": lambda: listed("{}"),
        "31 MiB of strings": lambda: listed('""', model="words"),
        "31 MiB of numbers": lambda: listed("0", model="examples"),
        "31 MiB of floats": lambda: listed("1e-1", model="examples"),
        "31 MiB of digits": lambda: listed("9" * (MOST - 100)),
        "31 MiB of brackets": lambda: nested(MOST),
        "31 MiB of blanks": lambda: predict(b" " * MOST),
        "31 MiB of a string": lambda: predict(b'{"signature_name":"' + b"\\u00e9" * (MOST // 6) + b'"}'),
        "31 MiB of keys": keys,
        "31 MiB of ill UTF-8": lambda: predict(b'{"instances":["' + b"\xed\xa0\x80" * (MOST // 3) + b'"]}'),
        "a context of 0.9 MB for 3,000 examples": context,
        "a context of 0.9 MB for no model": lambda: context("none"),
        "100 images of 8,000 x 8,000": lambda: images(8000, 100),
        "an image of 8,000 x 8,000": lambda: images(8000, 1),
        "3 images of 5,700 x 5,700": lambda: images(5700, 3),  # as large as they may be
        "4 images of 3,900 x 3,900": lambda: images(3900, 4),
        "an image in scans of 3,300 x 3,300": lambda: images(3300, 1, scans),
        "an image with alpha of 3,100 x 3,100": lambda: images(3100, 1, alpha),
    }


def grpc() -> dict:
    def message(method: str, where: tuple[int, ...], part: bytes, model: str = "pixels", signature: str = "") -> tuple:
        """`part` over and over, in the field to which the numbers lead."""
        found = MESSAGES[method]()
        found.model_spec.name, found.model_spec.signature_name = model, signature
        inside = part * (MOST // len(part))
        for number in reversed(where):
            inside = tag(number, inside)
        return method, found.SerializeToString() + inside

    def context(size: int, count: int, model: str = "examples") -> tuple:
        found = MESSAGES["Classify"]()
        found.model_spec.name, found.model_spec.signature_name = model, CLASSIFY
        listed = found.input.example_list_with_context
        listed.context.features.feature["x"].bytes_list.value.append(bytes(size))
        for _ in range(count):
            listed.examples.add()
        return "Classify", found.SerializeToString()

    def pixels(rows: int) -> tuple:
        found = MESSAGES["Predict"]()
        found.model_spec.name = "pixels"
        found.inputs["image"].CopyFrom(tf.make_tensor_proto(np.zeros((rows, SIDE, SIDE, 3), np.uint8)))
        return "Predict", found.SerializeToString()

    def claimed(dtype: str, count: int) -> tuple:
        """One value that is to stand for many."""
        found = MESSAGES["Predict"]()
        found.model_spec.name = "examples"
        found.inputs["x"].CopyFrom(tf.make_tensor_proto(np.zeros(1, dtype)))
        found.inputs["x"].tensor_shape.dim[0].size = count
        return "Predict", found.SerializeToString()

    def inputs(part: bytes) -> tuple:
        """Of a tensor "x" with `part` over and over."""
        entry = tag(1, b"x") + tag(2, part * (MOST // len(part)))
        return "Predict", MESSAGES["Predict"](model_spec={"name": "examples"}).SerializeToString() + tag(2, entry)

    return {
        "a context of 1 MiB for 3,000 examples": lambda: context(2**20, 3000),
        "a context of 210 kB for no model": lambda: context(204_000, 3000, "none"),
        "a context of 31 MiB for 200 examples": lambda: context(MOST, 200),
        "31 MiB of empty examples": lambda: message("Classify", (2, 1), b"\x0a\0", "examples", CLASSIFY),
        "31 MiB of empty examples for no model": lambda: message("Regress", (2, 1), b"\x0a\0", "none"),
        "31 MiB of empty metadata fields": lambda: message("GetModelMetadata", (), b"\x12\0"),
        "31 MiB of empty filters": lambda: message("Predict", (), b"\x1a\0"),
        "31 MiB of empty inputs": lambda: message("Predict", (), b"\x12\0"),
        "31 MiB of dimensions": lambda: inputs(tag(2, b"\x12\0" * 1000)),
        "31 MiB of empty strings": lambda: inputs(b"\x42\0"),
        "31 MiB of small integers": lambda: inputs(tag(7, bytes(10_000))),
        "31 MiB of unknown fields": lambda: message("GetModelStatus", (), b"\xf8\x07\x01"),
        "31 MiB of groups": lambda: message("Predict", (), b"\x0b\x0c"),
        "31 MiB of pixels": lambda: pixels(MOST // (SIDE * SIDE * 3)),
        "a claim of 8 million float32": lambda: claimed("float32", 8_000_000),
        "a claim of 30 million strings": lambda: claimed("S1", 30_000_000),
    }


def blank(side: int) -> bytes:
    """A PNG of side x side black pixels, a thousand times smaller."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packed = zlib.compressobj(9)
    rows = b"".join([*(packed.compress(bytes(1 + 3 * side)) for _ in range(side)), packed.flush()])
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def scans(side: int) -> bytes:
    """A progressive JPEG, all of whose coefficients are held until its end."""
    return _saved(Image.new("RGB", (side, side), "red"), "JPEG", progressive=True, subsampling=0)


def alpha(side: int) -> bytes:
    return _saved(Image.new("RGBA", (side, side), (255, 0, 0, 128)), "PNG")


def _saved(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def tag(number: int, data: bytes) -> bytes:
    """A field of bytes: its number, its length, and they."""
    length, left = b"", len(data)
    while left > 127:
        length, left = length + bytes([left & 127 | 128]), left >> 7
    return bytes([number << 3 | 2]) + length + bytes([left]) + data


APIS = {"rest": rest, "grpc": grpc}
