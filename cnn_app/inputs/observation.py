"""What an agent sees: a vector, float32 (N, size), or frames, uint8 (N, height, width, frames); or its bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

import numpy as np

from cnn_app import names
from cnn_app.errors import DataError
from cnn_app.inputs import files
from cnn_app.inputs.base import Base
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    from cnn_app.data.dataset import Column, Split
    from cnn_app.tensors import Arrays

NPY = b"\x93NUMPY"
SUFFIX = ".npy"


@dataclass(frozen=True)
class Observation(Base):
    """Of `shape`: one side is a vector of numbers, three are frames of bytes."""

    shape: tuple[int, ...]

    kind: ClassVar = "observation"
    plural: ClassVar = "observations"
    encoded: ClassVar = names.OBSERVATION_BYTES
    formats: ClassVar = "NumPy's .npy, or the bytes of the numbers"
    suffixes: ClassVar = (SUFFIX,)

    @classmethod
    def of_row(cls, row, known: Mapping) -> Observation:
        return cls(tuple(row.observation))

    @classmethod
    def of_facts(cls, facts: Mapping) -> Observation:
        shape = tuple(facts["shape"])
        if len(shape) not in (1, 3) or not all(type(side) is int and side > 0 for side in shape):
            raise ValueError(f"observations of {list(shape)} are neither vectors nor frames")
        return cls(shape)

    @classmethod
    def of_specs(cls, specs: dict[str, Spec]) -> None:
        """Numbers do not say what they were seen as."""

    @property
    def dtype(self) -> str:
        return "uint8" if len(self.shape) == 3 else "float32"

    def facts(self) -> dict:
        return {"kind": self.kind, "shape": list(self.shape)}

    def brief(self) -> dict:
        what = "frames of bytes" if self.dtype == "uint8" else "numbers"
        return self.facts() | {"note": f"{'x'.join(map(str, self.shape))} {what}."}

    def columns(self) -> dict:
        return {"observation": self.shape}

    def specs(self) -> dict[str, Spec]:
        return {"observation": Spec(self.dtype, (None, *self.shape))}

    def fitted(self, split: Split) -> Observation:
        array = split.inputs["observation"].array
        if array is None or array.shape[1:] != self.shape or array.dtype != self.dtype:
            found = f"{array.dtype} {array.shape[1:]}" if array is not None else "something else"
            raise DataError(f"the environment shows {found}, the network takes {self.dtype} {self.shape}; "
                            "-c observation= sets its size")  # fmt: skip
        return self

    def places(self, root: Path) -> dict[str, Path]:
        raise DataError(f"{root} is a folder; an agent learns by acting: give catch or gym:NAME")

    def by_class(self, place: Path, root: Path, encoding: str) -> dict[str, tuple[list[str], list]]:
        raise NotImplementedError  # nothing of it lies in folders

    def raw(self, records: list) -> dict[str, Column]:
        raise NotImplementedError

    @staticmethod
    def records(places: Iterable[str], stdin: BinaryIO) -> Iterator[tuple[str, bytes | DataError]]:
        """Files, all .npy files under folders, and `-` for the bytes on `stdin`."""
        for name in files.names(places, (SUFFIX,), "observations"):
            try:
                yield name, stdin.read(files.MAX_BYTES + 1) if name == "-" else files.content(Path(name))
            except DataError as error:
                yield name, error

    def converters(self) -> dict[str, tuple[Spec, Callable]]:
        return {"observation": (Spec(self.dtype, self.shape), lambda raw: raw)}

    def decoder(self) -> Callable[[bytes], Arrays]:
        return lambda data: {"observation": self._array(data)}

    def encode(self, record: Arrays) -> bytes:
        return np.ascontiguousarray(record["observation"], self._stored).tobytes()

    def load(self, data: bytes, name: str) -> Arrays:
        try:
            return {"observation": self._array(data)}
        except DataError as error:
            raise DataError(f"cannot read {name}: {error}") from error

    @property
    def _stored(self) -> np.dtype:
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def size(self) -> int:
        """Of one, in bytes."""
        return math.prod(self.shape) * self._stored.itemsize

    def _array(self, data: bytes) -> np.ndarray:
        wanted = f"{self.size:,} bytes of {self.dtype} {self.shape} are needed"
        if data[: len(NPY)] != NPY:
            if len(data) != self.size:
                raise DataError(f"{len(data):,} bytes are no observation, {wanted}")
            return np.frombuffer(data, self._stored).reshape(self.shape).astype(self.dtype)
        try:
            array = np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise DataError(f"the array is damaged; {wanted}") from error
        if array.shape != self.shape or not np.can_cast(array.dtype, self.dtype, "same_kind"):
            raise DataError(f"an array {array.dtype} {array.shape} is no observation, {wanted}")
        return array.astype(self.dtype)

    @staticmethod
    def decoded_bytes(data: bytes, most: int) -> int:
        return len(data)

    @staticmethod
    def example() -> bytes:
        return b"\0" * 16

    def signatures(self) -> Iterator[tuple[str, dict[str, Spec], Callable]]:
        import tensorflow as tf

        def decoded(observation_bytes):
            numbers = tf.io.decode_raw(observation_bytes, self.dtype)
            return tf.cast(tf.reshape(numbers, (tf.size(observation_bytes), *self.shape)), tf.float32)

        yield names.DEFAULT, self.specs(), lambda observation: {"observation": tf.cast(observation, tf.float32)}
        yield self.encoded, {self.encoded: Spec("string", (None,))}, lambda data: {"observation": decoded(data)}

    def calibration(self, arrays: Arrays) -> Arrays:
        """Of frames the first reaches from 0 to 255, so that a byte is its quantized value."""
        seen = arrays["observation"].astype("float32")
        if self.dtype == "uint8":
            seen[0, 0, 0], seen[0, 0, -1] = 0, 255
        return {"observation": seen}

    def tensor_metadata(self, schema):
        """TFLite's TensorMetadata."""
        seen = schema.TensorMetadataT()
        seen.name, seen.dimensionNames = "observation", None
        seen.description = f"What an agent sees: {self.brief()['note']}"
        return seen
