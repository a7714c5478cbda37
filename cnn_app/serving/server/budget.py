"""Bytes that all requests together may hold at a time: who comes too late is sent away, or waits for room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from cnn_app.serving.server.errors import RequestError


class Budget:
    """For one event loop, so nothing is locked.

    of: what has these bytes. option: which moves `most`.
    """

    def __init__(self, most: int, of: str, option: str):
        self.most, self.of, self.option, self.used = most, of, option, 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        """A request's part, which is given back when the block ends."""
        share = Share(self)
        try:
            yield share
        finally:
            self.used -= share.size


class Share:
    def __init__(self, budget: Budget):
        self.budget, self.size = budget, 0

    def take(self, size: int) -> None:
        """Raises RequestError (RESOURCE_EXHAUSTED) where the others leave too little."""
        if self.budget.used + size > self.budget.most:
            raise RequestError(
                "RESOURCE_EXHAUSTED",
                f"{self.budget.used:,} bytes of {self.budget.of} are held, this request has {size:,} more; "
                f"at most {self.budget.most:,} are held at a time ({self.budget.option}); try again later",
            )
        self.budget.used += size
        self.size += size


class Room:
    """Who needs more than is left waits, the first before the next."""

    def __init__(self, most: int):
        self.most, self.used, self._turns, self._left = most, 0, asyncio.Lock(), asyncio.Event()

    @asynccontextmanager
    async def of(self, size: int) -> AsyncIterator[None]:
        """`size` is at most all there is."""
        assert size <= self.most
        async with self._turns:
            while self.used + size > self.most:
                self._left.clear()
                await self._left.wait()
            self.used += size
        try:
            yield
        finally:
            self.used -= size
            self._left.set()
