"""Where a server listens for REST: at a port, or on a UNIX socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnn_app import systems
from cnn_app.errors import ServingError


@contextmanager
def on_file(place: Path) -> Iterator[socket.socket]:
    """A UNIX socket for this user and its group; one that a dead server left is replaced."""
    if systems.UNIX is None:
        raise ServingError(f"cannot serve on {place}: this system's Python has no UNIX sockets; choose a --port")
    with socket.socket(systems.UNIX) as listening:
        try:
            if place.is_socket() and not _answers(place):
                place.unlink()
            listening.bind(str(place))
            place.chmod(0o660)
        except OSError as error:
            raise ServingError(
                f"cannot serve on {place}: {error.strerror or error}; choose another --socket"
            ) from error
        try:
            yield listening
        finally:
            place.unlink(missing_ok=True)


def _answers(place: Path) -> bool:
    with socket.socket(systems.UNIX) as asking:
        try:
            asking.connect(str(place))
        except ConnectionRefusedError:
            return False
    return True


@contextmanager
def on_port(host: str, port: int) -> Iterator[socket.socket]:
    """A TCP socket at an address of this machine."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(*found[:3])  # without the protocol asyncio would not set TCP_NODELAY
    except OSError as error:
        raise ServingError(f"--host {host} is no address of this machine: {error.strerror}") from error
    with listening:
        listening.setsockopt(socket.SOL_SOCKET, systems.REUSE, 1)
        try:
            listening.bind(found[4])
        except OSError as error:
            raise ServingError(f"cannot serve on {host}:{port}: {error.strerror}; choose another --port") from error
        yield listening
