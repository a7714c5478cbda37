"""What the REST and the gRPC server both ask for, and the limits that hold behind each of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from cnn_app.errors import DataError
from cnn_app.serving.server import examples
from cnn_app.serving.server.budget import Budget
from cnn_app.serving.server.errors import RequestError, invalid
from cnn_app.serving.server.examples import Given
from cnn_app.serving.server.json_child import Reader, named
from cnn_app.serving.server.metrics import Metrics
from cnn_app.serving.server.models import Models, Version
from cnn_app.serving.server.signatures import Signature

if TYPE_CHECKING:
    from cnn_app.tensors import Arrays


LARGE = 2**19  # bytes that others would notice if they were worked on in front of them
RECORD = LARGE // 8  # the header of a record counts as much
Found = TypeVar("Found")
WAITING = 4  # times the bytes that are decoded at a time may wait for it: some seconds


@dataclass(frozen=True)
class Limits:
    body_bytes: int = 32 * 2**20  # of a request
    pixels: int = 64_000_000  # of an image, once decoded; as many as without a server
    decoding_bytes: int = 96 * 2**20  # of encoded records, while they are decoded
    rows: int = 256  # of its tensors
    queue: int = 1024  # rows that may wait for one version
    connections: int = 512  # of REST, and calls of gRPC
    in_flight_bytes: int = 64 * 2**20  # of all requests that are not answered yet
    read_s: float = 10  # until a request has come in
    answer_s: float = 30  # until it is answered


@dataclass(frozen=True)
class Asked:
    """What of which version: by number, by label, or the latest."""

    model: str
    number: int | None = None
    label: str | None = None
    signature: str = ""


class Service:
    def __init__(self, models: Models, limits: Limits, metrics: Metrics):
        self.models, self.limits, self.metrics = models, limits, metrics
        self.budget = Budget(limits.in_flight_bytes, "requests", "--max-in-flight")
        self.decoding = Budget(limits.decoding_bytes * WAITING, "decoded records", "--max-decoding")
        self.reader = Reader(limits.answer_s, limits.rows)
        self._turns = ThreadPoolExecutor(1, thread_name_prefix="large")  # two would keep Python from all others
        self.draining = False  # told to stop; who asks is answered for the last time

    async def predict(
        self, asked: Asked, api: str, arrays: Callable[[Signature], Arrays], method: str = "", size: int = 0
    ) -> tuple[Version, Arrays]:
        """The outputs for what `arrays` makes of a request, which are about `size` bytes."""
        start, code = time.perf_counter(), "OK"
        self.metrics.waiting.inc()
        try:
            async with asyncio.timeout(self.limits.answer_s), self._using(asked) as version:
                assert version.engine and version.batcher
                known = named(version.engine.signatures, asked.signature)
                if method and known.method != method:
                    what = "classification" if method.endswith("classify") else "regression"
                    raise invalid(f"Expected {what} signature method_name to be {method}. Was: {known.method}")

                def checked() -> tuple[Arrays, int]:
                    found = arrays(known)
                    return found, known.check(found, self.limits.rows)

                inputs, rows = await self.aside(size, checked)
                with self.decoding.share() as share:
                    sizes = await self._decoded_bytes(known, inputs)
                    share.take(sum(sizes))
                    return version, await version.batcher(known.name, inputs, rows, sizes)
        except TimeoutError as error:
            code = "DEADLINE_EXCEEDED"
            raise RequestError(code, f"no answer within {self.limits.answer_s:g} seconds") from error
        except RequestError as error:
            code = error.code
            raise
        except DataError as error:
            code = "INVALID_ARGUMENT"
            raise invalid(str(error)) from error
        finally:
            self.metrics.waiting.dec()
            name = asked.model if asked.model in self.models.by_name else "unknown"
            self.metrics.answered(name, api, code, time.perf_counter() - start)

    async def aside(self, size: int, function: Callable[..., Found], *args) -> Found:
        """What a function makes of `size` bytes; of many in a thread, one after the other."""
        if size <= LARGE:
            return function(*args)
        return await asyncio.get_running_loop().run_in_executor(self._turns, function, *args)

    def close(self) -> None:
        self.reader.close()
        self._turns.shutdown()

    async def of_examples(self, asked: Asked, api: str, method: str, given: Given) -> Arrays:
        """The outputs for tf.Examples; `method` is classify or regress."""
        if not given.examples:
            raise invalid("Input is empty.")
        limits = self.limits

        def arrays(known: Signature) -> Arrays:
            return examples.arrays(given, known, limits.rows, limits.body_bytes)

        return (await self.predict(asked, api, arrays, examples.METHODS[method]))[1]

    def _using(self, asked: Asked):
        return self.models.using(asked.model, asked.number, asked.label)

    async def _decoded_bytes(self, known: Signature, inputs: Arrays) -> list[int]:
        """Of encoded records by their headers, before anything decodes them."""
        kind = known.records
        if kind is None:
            return []
        records = next(iter(inputs.values())).ravel().tolist()
        sizes = await self.aside(max(sum(map(len, records)), len(records) * RECORD), self._looked_at, kind, records)
        if sum(sizes) > self.decoding.most:
            raise invalid(f"decoding the records takes {sum(sizes):,} bytes, at most {self.decoding.most:,} are "
                          "allowed in a request (--max-decoding); send fewer")  # fmt: skip
        return sizes

    def _looked_at(self, kind, records: list[bytes]) -> list[int]:
        sizes, limits = [], self.limits
        for place, data in enumerate(records):
            try:
                sizes.append(kind.decoded_bytes(data, limits.pixels))
                if sizes[-1] > limits.decoding_bytes:
                    raise DataError(f"decoding it takes {sizes[-1]:,} bytes, at most {limits.decoding_bytes:,} are "
                                    "allowed (--max-decoding)")  # fmt: skip
            except DataError as error:
                which = f"record {place}" if len(records) > 1 else "the record"
                raise invalid(f"cannot read {which}: {error}") from error
        return sizes
