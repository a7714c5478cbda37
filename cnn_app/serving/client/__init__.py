"""Ask a server, ours or TF Serving, about images. Neither TensorFlow nor the model is needed for it.

with Client("http://127.0.0.1:8501/photos") as client:
    for answer in client.answers(images):
        print(answer.top())
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property

import numpy as np

from cnn_app.errors import ServingError
from cnn_app.names import DEFAULT, ENCODED, FLOAT_PIXELS, IMAGE_BYTES, TEXT
from cnn_app.serving.client.answer import Answer, RecordError
from cnn_app.serving.client.endpoint import Endpoint, parse
from cnn_app.serving.client.transport import Record, Transport

__all__ = ["Answer", "Client", "Record", "RecordError"]


class Client:
    """Asks a server, ours or TF Serving. Its methods take encoded images as bytes, pixels, or sentences as str.

    endpoint: http, https, grpc or grpcs://HOST:PORT/NAME[/versions/N or /labels/L].
    api_key: of the server, where it has one.
    timeout: seconds for an answer.
    ca: a PEM file of whom to trust for TLS.
    parallel: how many records are asked for at a time.

    Tried again after a while are connections that are refused or end without an answer, and servers that are busy, when
    they say; nothing else is. Raises ServingError for what concerns all records, RecordError for one.
    """

    def __init__(
        self,
        endpoint: str,
        api_key: str | None = None,
        timeout: float = 30,  # seconds for an answer
        ca: str | os.PathLike[str] | None = None,
        parallel: int = 8,
    ):
        self.endpoint = parse(endpoint, api_key, timeout, ca, parallel)
        self.transport = _connected(self.endpoint)
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="ask")

    def predict(self, records: Iterable[Record]) -> list[Answer]:
        return list(self.answers(records))

    def answers(self, records: Iterable[Record]) -> Iterator[Answer]:
        """As `each`, but the first record without an answer ends it with its RecordError."""
        for found in self.each(records):
            if isinstance(found, RecordError):
                raise found
            yield found

    @cached_property
    def encoded(self) -> str:
        """The signature of the model that takes encoded records."""
        there = self.transport.signatures()
        found = [name for name in ENCODED if name in there]
        if not found:
            raise ServingError(f"{self.endpoint} takes no encoded records; it has {', '.join(sorted(there))}")
        return found[0]

    def each(self, records: Iterable[Record], name: str | None = None) -> Iterator[Answer | RecordError]:
        """An answer to each record, or why there is none, in their order; `parallel` of them are asked for at a time.

        name: of the signature, where the kind of a record does not say it.
        What concerns them all, such as a server that is not there, is raised as a ServingError.
        """
        running: deque[Future[Answer | RecordError]] = deque()
        try:
            for record in records:
                running.append(self._pool.submit(self._one, record, name or signature(record)))
                if len(running) >= 2 * self.endpoint.parallel:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()

    def _one(self, record: Record, name: str) -> Answer | RecordError:
        try:
            return Answer(self.transport.ask(record, name))
        except RecordError as error:
            return error

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self.transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error) -> None:
        self.close()


def signature(record: Record) -> str:
    """Whom a record of this kind is for."""
    if isinstance(record, np.ndarray):
        return DEFAULT if record.dtype == np.uint8 else FLOAT_PIXELS
    return TEXT if isinstance(record, str) else IMAGE_BYTES


def _connected(where: Endpoint) -> Transport:
    if where.scheme.startswith("grpc"):
        from cnn_app.serving.client.grpc import GrpcTransport

        return GrpcTransport(where)
    from cnn_app.serving.client.rest import RestTransport

    return RestTransport(where)
