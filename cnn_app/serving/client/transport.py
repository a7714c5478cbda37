"""What the client's ways over REST and gRPC have in common."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from cnn_app.errors import ServingError

if TYPE_CHECKING:
    from cnn_app.tensors import Arrays

log = logging.getLogger(__name__)
RETRIES = 4  # when nobody listens, the server is busy, or it goes away
BACKOFF_S = 0.1  # before the second try, doubled each time; up to as much again lets clients come one after another
LONGEST_S = 5  # that a server may ask to be left alone
Record = bytes | str | np.ndarray  # an encoded image, a text, or pixels (height, width, channels) in [0, 255]
Found = TypeVar("Found")


class TryAgain(Exception):
    """There was no answer, and there may be one later: `error` says why, `wait_s` when, if the server said so."""

    def __init__(self, error: ServingError, wait_s: float | None = None):
        self.error, self.wait_s = error, wait_s


def patiently(ask: Callable[[], Found]) -> Found:
    """What `ask` finds. It may be asked again even where its request arrived: an answer changes nothing at a server."""
    for number in range(RETRIES):
        try:
            return ask()
        except TryAgain as busy:
            backoff = BACKOFF_S * 2**number
            wait = backoff if busy.wait_s is None else min(busy.wait_s, LONGEST_S)
            log.debug("%s; asked again after %.1f s", busy.error, wait)
            time.sleep(wait + random.uniform(0, backoff))
    try:
        return ask()
    except TryAgain as busy:
        raise busy.error from busy.__cause__


class Transport(Protocol):
    """May be asked by several threads."""

    def ask(self, record: Record, signature: str) -> Arrays:
        """The outputs for one record. RecordError where the server refuses it, ServingError for what concerns all."""
        ...

    def signatures(self) -> set[str]:
        """The names of all that the model can be asked by."""
        ...

    def close(self) -> None: ...
