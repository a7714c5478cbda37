"""What the client's ways over REST and gRPC have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from cnn_app.tensors import Arrays

RETRIES = 4  # when nobody listens, or the server says that it is busy
Record = bytes | str | np.ndarray  # an encoded image, a text, or pixels (height, width, channels) in [0, 255]


class Transport(Protocol):
    """May be asked by several threads."""

    def ask(self, record: Record, signature: str) -> Arrays:
        """The outputs for one record. RecordError where the server refuses it, ServingError for what concerns all."""
        ...

    def signatures(self) -> set[str]:
        """The names of all that the model can be asked by."""
        ...

    def close(self) -> None: ...
