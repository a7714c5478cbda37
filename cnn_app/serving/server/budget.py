"""The bytes of all requests together that the server holds at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cnn_app.serving.server.errors import RequestError


class Budget:
    """For one event loop, so nothing is locked."""

    def __init__(self, most: int):
        self.most, self.used = most, 0

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
                f"{self.budget.used:,} bytes of requests are held, this one has {size:,} more; "
                f"at most {self.budget.most:,} are held at a time (--max-in-flight); try again later",
            )
        self.budget.used += size
        self.size += size
