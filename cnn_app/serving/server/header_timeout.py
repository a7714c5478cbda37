"""uvicorn waits for ever for the header of a request; this protocol does not."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


def with_header_timeout(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's HTTP/1.1, closing a connection whose request has no end of its header after `seconds`."""

    class HeaderTimeout(H11Protocol):
        late: asyncio.TimerHandle | None = None

        def connection_made(self, transport) -> None:
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is None or self.cycle.response_complete:
                self._wait()
            else:
                self._cancel()

        def connection_lost(self, exc) -> None:
            self._cancel()
            super().connection_lost(exc)

        def _wait(self) -> None:
            """From the first byte: a drop every second must not prolong it."""
            if self.late is None:
                self.late = self.loop.call_later(seconds, self.transport.abort)

        def _cancel(self) -> None:
            if self.late is not None:
                self.late.cancel()
                self.late = None

    return HeaderTimeout
