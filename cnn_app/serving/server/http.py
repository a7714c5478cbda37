"""HTTP/1.1 by uvicorn and httptools, with the limits that both leave open, and all errors as JSON."""

from __future__ import annotations

import asyncio
import json

import httptools
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cnn_app.serving.server import rest

HEAD_BYTES, HEADERS = 64 * 2**10, 100  # of a request, its trailers among them
PIPELINED = 16  # requests that wait for the answer to one before them
LINGER_S = 1  # of idle connections when the server goes: whoever asks within it is told that it was the last time


def limited(seconds: float, most: int) -> type[asyncio.Protocol]:
    """A protocol for at most `most` connections that closes one whose head does not come in within `seconds`."""

    async def full(scope: Scope, receive: Receive, send: Send) -> None:
        message = f"{most} connections are open, as many as --max-connections allows; try again later"
        await rest.error(message, 503)(scope, receive, send)

    class Limited(HttpToolsProtocol):
        late: asyncio.TimerHandle | None = None
        head_bytes, kept_bytes, in_head = 0, 0, False
        draining = False

        def connection_made(self, transport) -> None:
            super().connection_made(transport)
            self._wait()
            if len(self.connections) > most:
                self.app = full

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.in_head and not self.transport.is_closing():
                self.head_bytes += len(data)
                if self.head_bytes > HEAD_BYTES:
                    self.send_400_response(f"the head of a request has more than {HEAD_BYTES:,} bytes")
            if self.cycle is None or self.cycle.response_complete:
                self._wait()
            else:
                self._cancel()

        def connection_lost(self, exc) -> None:
            self._cancel()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            if len(self.pipeline) >= PIPELINED:
                raise httptools.HttpParserError("too many requests at once")
            super().on_message_begin()
            self.count = self.head_bytes = self.kept_bytes = 0
            self.in_head = True

        def on_url(self, url: bytes) -> None:
            self._keep(url)
            super().on_url(url)

        def on_header(self, name: bytes, value: bytes) -> None:
            self.count += 1
            if self.count > HEADERS:
                raise httptools.HttpParserError("too many headers")
            self._keep(name + value)
            super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self.in_head = False  # what follows may be a body that nobody reads
            super().on_headers_complete()
            self.cycle.keep_alive &= not self.draining and self.app is not full

        def send_400_response(self, msg: str) -> None:
            """uvicorn would send it as plain text."""
            body = json.dumps({"error": f"{msg.rstrip('.')}; HTTP/1.1 with at most {HEADERS} headers is spoken here"})
            head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            self.transport.write(f"{head}connection: close\r\n\r\n{body}".encode())
            self.transport.close()

        def shutdown(self) -> None:
            self.draining = True
            if self.cycle is None or self.cycle.response_complete:
                self.loop.call_later(LINGER_S, super().shutdown)
            else:
                super().shutdown()

        def _keep(self, part: bytes) -> None:
            """Of a head that came at once."""
            self.kept_bytes += len(part)
            if self.kept_bytes > HEAD_BYTES:
                raise httptools.HttpParserError(f"the head of a request has more than {HEAD_BYTES:,} bytes")

        def _wait(self) -> None:
            """From the first byte: a drop every second must not prolong it."""
            if self.late is None:
                self.late = self.loop.call_later(seconds, self.transport.abort)

        def _cancel(self) -> None:
            if self.late is not None:
                self.late.cancel()
                self.late = None

    return Limited
