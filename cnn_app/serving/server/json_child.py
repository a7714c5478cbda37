"""Large JSON is read in a child: Python's parser stops all threads of a process, and makes a hundred bytes of two."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from cnn_app.child import Child, ChildError
from cnn_app.runtimes.isolated import described, framed, header, packed, unpacked
from cnn_app.serving.server import examples, json_tensor
from cnn_app.serving.server.errors import RequestError, invalid
from cnn_app.serving.server.examples import Given
from cnn_app.serving.server.signatures import Signature
from cnn_app.tensors import Arrays, Spec

BYTES, VALUES = 2**18, 4096  # of a body that is read at once
MEMORY_BYTES = 160 * 2**20
CONTEXT, EXAMPLES = "context", "examples"  # how examples travel
STRINGS = ".strings"  # what ends the name of an array of their bytes


def is_heavy(data: bytearray) -> bool:
    """Whether others would notice that this is read."""
    return len(data) > BYTES or sum(map(data.count, (b"[", b"{", b","))) > VALUES


@dataclass(frozen=True)
class Read:
    """A :predict request has arrays, any other examples."""

    signature: str
    by_rows: bool = False
    arrays: Arrays = field(default_factory=dict)
    examples: Given | None = None


def read(data: json_tensor.Buffer, method: str, signatures: dict[str, Signature], rows: int) -> Read:
    """A request; what it asks for must be among `signatures`, and its rows not be more than `rows`."""
    if method != "predict":
        given = examples.parse(data)
        return Read(given.signature, examples=given)
    body = json_tensor.body(data)
    known = named(signatures, body.signature)
    arrays = json_tensor.arrays(body, known)
    known.check(arrays, rows)
    return Read(body.signature, body.by_rows, arrays)


def named(signatures: dict[str, Signature], name: str) -> Signature:
    if name not in signatures:
        raise invalid(f'Serving signature name: "{name[:100]}" not found in signature def; known: '
                      f"{', '.join(signatures)}")  # fmt: skip
    return signatures[name]


class Reader:
    """One child, which is started when it is needed, and anew when it has died."""

    def __init__(self, seconds: float, rows: int):
        self.seconds, self.rows = seconds, rows
        self._child: Child | None = None
        self._turns = ThreadPoolExecutor(1, thread_name_prefix="json")

    async def read(self, data: bytearray, method: str, signatures: dict[str, Signature]) -> Read:
        return await asyncio.get_running_loop().run_in_executor(self._turns, self._read, data, method, signatures)

    def _read(self, data: bytearray, method: str, signatures: dict[str, Signature]) -> Read:
        if self._child is None or not self._child.alive:
            self._child = Child(build, memory_bytes=MEMORY_BYTES)
        specs = {name: {key: [spec.dtype, spec.shape] for key, spec in known.inputs.items()}
                 for name, known in signatures.items()}  # fmt: skip
        try:
            answer = self._child.ask((header([method, self.rows, specs]), data), self.seconds)
        except ChildError as error:
            raise RequestError("TOO_LARGE", f"the request has {len(data):,} bytes of JSON and cannot be read: {error}; "
                               "send fewer records, encoded ones, or ask by gRPC") from error  # fmt: skip
        told, start = described(answer)
        if "error" in told:
            raise RequestError(told["code"], told["error"])
        arrays = _with_strings(unpacked(answer[start:]), told["shapes"])
        if method == "predict":
            return Read(told["signature"], told["by_rows"], arrays)
        (context,), listed = arrays[CONTEXT], arrays[EXAMPLES].tolist()
        return Read(told["signature"], examples=Given(told["signature"], context, listed))

    def close(self) -> None:
        self._turns.shutdown()
        if self._child is not None:
            self._child.close()


def build() -> Callable[[bytes], bytes]:
    """The child's side."""
    gc.disable()  # millions of lists, all of which are still in use, would be looked through again and again
    return _answer


def _answer(request: bytes) -> bytes:
    (method, rows, specs), start = described(request)
    signatures = {
        name: Signature(name, {key: Spec(dtype, None if shape is None else tuple(shape))
                               for key, (dtype, shape) in inputs.items()}, {})
        for name, inputs in specs.items()
    }  # fmt: skip
    arrays: Arrays = {}
    try:
        found = read(memoryview(request)[start:], method, signatures, rows)
        given = found.examples
        sent = {CONTEXT: _strings([given.context]), EXAMPLES: _strings(given.examples)} if given else found.arrays
        arrays, shapes = _without_strings(sent)
        told = {"signature": found.signature, "by_rows": found.by_rows, "shapes": shapes}
    except RequestError as error:
        told = {"code": error.code, "error": str(error)}
    return framed(told, packed(arrays))


def _strings(values: list[bytes]) -> np.ndarray:
    found = np.empty(len(values), object)
    found[:] = values
    return found


def _without_strings(arrays: Arrays) -> tuple[Arrays, dict[str, list[int]]]:
    """Arrays of strings as their lengths and all their bytes, and the shapes of these arrays."""
    found, shapes = {}, {}
    for name, array in arrays.items():
        if not array.dtype.hasobject:
            found[name] = array
            continue
        flat, shapes[name] = array.ravel().tolist(), list(array.shape)
        found[name] = np.array(list(map(len, flat)), np.int64)
        found[name + STRINGS] = np.frombuffer(b"".join(flat), np.uint8)
    return found, shapes


def _with_strings(arrays: Arrays, shapes: dict[str, list[int]]) -> Arrays:
    found = {name: array for name, array in arrays.items() if not name.endswith(STRINGS)}
    for name, shape in shapes.items():
        ends = np.cumsum(arrays[name])
        data = arrays[name + STRINGS].tobytes()
        values = [data[end - size : end] for end, size in zip(ends, arrays[name], strict=True)]
        found[name] = _strings(values).reshape(shape)
    return found
