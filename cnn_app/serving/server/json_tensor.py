"""TF Serving's JSON <-> arrays: rows (`instances`, `predictions`) and columns (`inputs`, `outputs`).

https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cnn_app.names import DEFAULT
from cnn_app.serving.server.errors import invalid
from cnn_app.serving.server.signatures import Signature
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    from cnn_app.tensors import Arrays

BINARY = "_bytes"  # the end of the names of outputs that are no text, as in TF Serving
DEPTH = 32  # of lists in lists
Buffer = bytes | bytearray | memoryview
AT_ONCE = 4096  # values that NumPy turns into digits while no other thread can run
NUMBERS = {"f": "iuf", "i": "iu", "u": "iu", "b": "b"}  # by kind: the kinds of JSON's values that are taken


@dataclass(frozen=True)
class Body:
    """A parsed request; what its values mean is for the signature to say."""

    signature: str
    value: object
    by_rows: bool


def parse(data: Buffer) -> dict:
    """The JSON object in a body of UTF-8. NaN and Infinity are words here, as in TF Serving."""
    try:
        text = str(data, "utf-8")
        if not text.strip():
            raise invalid("JSON Parse error: The document is empty")
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: Invalid value: {str(error)[:200]}") from error
    if not isinstance(found, dict):
        raise invalid(f"JSON Value: {_short(found)} Is not object; a request is an object with 'instances' or 'inputs'")
    return found


def signature_name(found: dict) -> str:
    name = found.get("signature_name", DEFAULT)
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {_short(name)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name or DEFAULT


def body(data: Buffer) -> Body:
    """A :predict request."""
    found = parse(data)
    name = signature_name(found)
    if "instances" in found and "inputs" in found:
        raise invalid("Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")
    if "inputs" in found:
        return Body(name, found["inputs"], by_rows=False)
    if "instances" not in found:
        raise invalid(f"Missing 'inputs' or 'instances' key; the request has {', '.join(map(_short, found)) or 'none'}")
    rows = found["instances"]
    if not isinstance(rows, list):
        raise invalid(f"Expecting 'instances' to be an list/array, not {_short(rows)}")
    if not rows:
        raise invalid("No values in 'instances' array")
    return Body(name, rows, by_rows=True)


def arrays(request: Body, signature: Signature) -> Arrays:
    return _from_rows(request.value, signature) if request.by_rows else _from_columns(request.value, signature)


def _from_rows(rows, signature: Signature) -> Arrays:
    named = _is_named(rows[0])
    for place, row in enumerate(rows):
        if _is_named(row) != named:
            wanted, got = ("object", "list") if named else ("value/list", "object")
            raise invalid(f"Expecting {wanted} but got {got} at item {place} of input list")
        if named and set(row) != set(signature.inputs):
            keys = ", ".join(signature.inputs)
            raise invalid(f"Failed to process element: {place} of 'instances' list: it has {_short(list(row))}; "
                          f"keys must be equal to: {keys}")  # fmt: skip
    if named:
        return {name: tensor([row[name] for row in rows], name, spec) for name, spec in signature.inputs.items()}
    if len(signature.inputs) != 1:
        names = ", ".join(signature.inputs)
        raise invalid(
            f"instances is a plain list, but expecting list of objects as multiple input tensors required: {names}"
        )
    return {name: tensor(rows, name, spec) for name, spec in signature.inputs.items()}


def _from_columns(value, signature: Signature) -> Arrays:
    if _is_named(value):
        signature.keys(value)
        return {name: tensor(value[name], name, spec) for name, spec in signature.inputs.items()}
    if len(signature.inputs) != 1:
        names = ", ".join(signature.inputs)
        raise invalid(
            f"inputs is a plain value/list, but expecting an object as multiple input tensors required: {names}"
        )
    return {name: tensor(value, name, spec) for name, spec in signature.inputs.items()}


def tensor(value, name: str, spec: Spec) -> np.ndarray:
    """A JSON value as an array of the spec's type; whether its shape fits is checked later."""
    if spec.dtype == "string":
        return _strings(value, name)
    try:
        found = np.array(value)
    except (ValueError, OverflowError) as error:  # ragged lists
        raise invalid(f"input {name}: JSON Value: {_short(value)} found at incorrect level; expected {spec}") from error
    wanted = np.dtype(spec.dtype)
    if found.dtype.kind not in NUMBERS.get(wanted.kind, "") and found.size:
        raise invalid(f"input {name}: JSON Value: {_short(value)} is not of expected type: {spec.dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        cast = found.astype(wanted)
    lossy = (
        not np.array_equal(cast, found) if wanted.kind in "iu" else bool((np.isinf(cast) & np.isfinite(found)).any())
    )
    if lossy:
        raise invalid(f"input {name}: a number is out of range; expected {spec.dtype}")
    return cast


def _strings(value, name: str) -> np.ndarray:
    shape, level = [], value
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
        if len(shape) > DEPTH:
            raise invalid(f"input {name}: lists are nested more than {DEPTH} deep")
    flat: list[bytes] = []
    _gather(value, shape, name, flat)
    found = np.empty(len(flat), object)
    found[:] = flat
    return found.reshape(shape)


def _gather(value, shape: list[int], name: str, out: list[bytes]) -> None:
    if shape:
        if not isinstance(value, list) or len(value) != shape[0]:
            raise invalid(
                f"input {name}: JSON Value: {_short(value)} found at incorrect level, or lists of unequal size"
            )
        for item in value:
            _gather(item, shape[1:], name, out)
    elif isinstance(value, str):
        out.append(value.encode("utf-8", "surrogatepass"))
    elif _is_b64(value):
        try:
            out.append(base64.b64decode(value["b64"], validate=True))
        except (binascii.Error, ValueError) as error:
            raise invalid(f"input {name}: Unable to base64 decode {_short(value['b64'])}: {error}") from error
    else:
        raise invalid(f"input {name}: JSON Value: {_short(value)} is not of expected type: string")


def answer(outputs: Arrays, by_rows: bool) -> Iterator[str]:
    """The JSON for a response, in pieces; a single output goes without its name."""
    names = sorted(outputs)
    if not by_rows:
        yield '{"outputs": '
        yield from _row(outputs, names)
        yield "}"
        return
    yield '{"predictions": ['
    for place in range(len(outputs[names[0]])):
        yield ", " if place else ""
        yield from _row({name: outputs[name][place, ...] for name in names}, names)
    yield "]}"


def check_rows(outputs: Arrays) -> None:
    """Refuse outputs that cannot be told row by row."""
    counts = {array.shape[:1] for array in outputs.values()}
    if len(counts) != 1 or () in counts:
        raise invalid("outputs differ in their number of rows; ask with 'inputs' instead of 'instances'")


def _row(outputs: Arrays, names: list[str]) -> Iterator[str]:
    if len(names) == 1:
        yield from _pieces(outputs[names[0]], names[0])
        return
    for place, name in enumerate(names):
        yield f"{', ' if place else '{'}{json.dumps(name)}: "
        yield from _pieces(outputs[name], name)
    yield "}"


def _pieces(array: np.ndarray, name: str) -> Iterator[str]:
    """So that other threads run between them."""
    if array.ndim > 1 and array.size > AT_ONCE:
        for place, row in enumerate(array):
            yield ", " if place else "["
            yield from _pieces(row, name)
        yield "]"
    else:
        yield json.dumps(plain(array, name), ensure_ascii=False)


def plain(array: np.ndarray, name: str):
    """Lists; float32 by its shortest digits, 0.2 and not 0.20000000298; bytes in base64 where the name says so."""
    if array.dtype.kind in "OSU":
        return _text(array.tolist(), name.endswith(BINARY))
    if array.dtype == np.float32 and array.size:
        return array.astype(str).astype(float).tolist()
    return array.tolist()


def _text(value, binary: bool):
    if isinstance(value, list):
        return [_text(item, binary) for item in value]
    data = value if isinstance(value, bytes) else value.encode()
    return {"b64": base64.b64encode(data).decode()} if binary else data.decode(errors="replace")


def _is_b64(value) -> bool:
    return isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str)


def _is_named(value) -> bool:
    return isinstance(value, dict) and not _is_b64(value)


def _short(value) -> str:
    try:
        text = str(value[:8] if isinstance(value, list | str) else value)
    except RecursionError:
        text = "deeply nested lists"
    return text if len(text) <= 60 else f"{text[:60]}..."
