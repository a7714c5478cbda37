"""What stands between an exported model and those who ask it: TF Serving's store, a server, the client of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnn_app.serving.client import Answer, Client

__all__ = ["Answer", "Client"]


def __getattr__(name: str):
    """The client's names, imported when they are asked for: the store does without NumPy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cnn_app.serving import client

    return getattr(client, name)
