"""A catalogue on the loopback interface, for trying it out; in earnest any web server or bucket hosts it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from cnn_app import systems
from cnn_app.delivery import repository
from cnn_app.errors import DeliveryError

HOST = "127.0.0.1"


def application(path: Path) -> Starlette:
    """The two folders that a catalogue consists of, and nothing that lies beside them."""
    folders = {"/metadata": repository.existing(path), "/targets": repository.targets_dir(path)}
    return Starlette(routes=[Mount(place, StaticFiles(directory=folder)) for place, folder in folders.items()])


def serve(path: Path, port: int, tell: Callable[[str], None] = lambda address: None) -> None:
    """Until the process is interrupted. Port 0 is any free one; `tell` gets the address once it can be reached."""
    app = application(path)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, systems.REUSE, 1)
        try:
            listening.bind((HOST, port))
        except OSError as error:
            raise DeliveryError(f"cannot serve on port {port}: {error.strerror}; choose another --port") from error
        listening.listen()
        tell(f"http://{HOST}:{listening.getsockname()[1]}")
        with suppress(KeyboardInterrupt):
            uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
