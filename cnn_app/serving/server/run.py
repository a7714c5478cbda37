"""`cnn-app serve`: the REST and the gRPC server on one event loop, until they are told to stop."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc
import uvicorn
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from cnn_app import systems
from cnn_app.errors import ServingError
from cnn_app.names import LOOPBACK
from cnn_app.serving.server import grpc as grpc_server
from cnn_app.serving.server import rest, sockets
from cnn_app.serving.server.access import HostGuard, KeyGuard, OriginGuard, allows
from cnn_app.serving.server.batching import Batcher, Batching
from cnn_app.serving.server.budget import Room
from cnn_app.serving.server.discovery import Servable
from cnn_app.serving.server.engines import Engine
from cnn_app.serving.server.http import limited
from cnn_app.serving.server.loading import Loading
from cnn_app.serving.server.metrics import Metrics
from cnn_app.serving.server.models import Models
from cnn_app.serving.server.service import Limits, Service

M_MMAP_THRESHOLD = -3  # of mallopt(3)
GRACE_S = 30  # for what runs when the server is told to stop


@dataclass(frozen=True)
class Settings:
    host: str = "127.0.0.1"
    port: int = 8501  # of REST; 0 is any free one
    grpc_port: int | None = 8500  # None: no gRPC
    socket: Path | None = None  # of UNIX, where REST is in the place of host and port
    key: str | None = None
    tls: tuple[Path, Path] | None = None  # certificate and key, as PEM
    batching: Batching = field(default_factory=Batching)
    limits: Limits = field(default_factory=Limits)
    loading: Loading = field(default_factory=Loading)
    origins: tuple[str, ...] = ()  # whose pages may post, beside our own: scheme://host[:port]
    poll_s: float = 1  # between looks for new versions

    def __post_init__(self):
        if self.host not in LOOPBACK and not (self.key and self.tls):
            raise ServingError(f"--host {self.host} can be reached by others, so it needs --api-key-file and TLS "
                               "(--tls-cert, --tls-key); or leave it at 127.0.0.1")  # fmt: skip

    def suited(self, loading: Loading) -> Settings:
        """What runs on one core is left there: as many batches as there are cores run side by side."""
        alone = loading.threads == 1 or not self.batching.rows
        workers = max(os.cpu_count() or 1, 2) if alone else 1
        return replace(self, loading=loading, batching=replace(self.batching, workers=workers))


@dataclass(frozen=True)
class Addresses:
    rest: str
    grpc: str | None


class Server:
    """`run` serves until `stop` is called; `tell` gets the addresses once both servers are open."""

    def __init__(self, servables: Iterable[Servable], settings: Settings):
        self.settings, self.servables = settings, list(servables)
        self._end: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, tell: Callable[[Addresses], None] = lambda addresses: None) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        try:
            await self._run(self._end, tell)
        finally:
            self._loop = None

    async def _run(self, end: asyncio.Event, tell: Callable[[Addresses], None]) -> None:
        settings, metrics, limits = self.settings, Metrics(), self.settings.limits
        room = Room(limits.decoding_bytes)

        def queue_of(engine: Engine, ran: Callable[[int, float], None]) -> Batcher:
            return Batcher(engine, settings.batching, limits.queue, room, ran)

        models = Models(self.servables, queue_of, metrics, settings.loading)
        service = Service(models, settings.limits, metrics)
        where = settings.socket
        with sockets.on_file(where) if where else sockets.on_port(settings.host, settings.port) as listening:
            await models.refresh()
            _all_there(models)
            calls = await self._open_grpc(service)
            web = self._web(service)
            serving = asyncio.create_task(web.serve([listening]))
            watching = asyncio.create_task(models.watch(settings.poll_s))
            try:
                while not web.started and not serving.done():
                    await asyncio.sleep(0.01)
                tell(self._addresses(listening, calls))
                await asyncio.wait([serving, asyncio.create_task(end.wait())], return_when=asyncio.FIRST_COMPLETED)
            finally:
                watching.cancel()
                service.draining = web.should_exit = True
                stops = [calls[0].stop(GRACE_S)] if calls else []
                await asyncio.gather(serving, *stops)
                await models.close()
                service.close()

    def stop(self) -> None:
        """From any thread, or a signal."""
        if self._loop and self._end:
            self._loop.call_soon_threadsafe(self._end.set)

    def _web(self, service: Service) -> uvicorn.Server:
        settings, app = self.settings, rest.application(service)
        guarded: ASGIApp = KeyGuard(app, allows(settings.key)) if settings.key else HostGuard(app)
        if settings.origins:  # a browser asks without a key whether it may ask
            guarded = CORSMiddleware(guarded, allow_origins=settings.origins, allow_methods=["GET", "POST"],
                                     allow_headers=["authorization", "content-type"])  # fmt: skip
        cert, key = settings.tls or (None, None)
        config = uvicorn.Config(
            OriginGuard(guarded, settings.origins), log_level="warning", access_log=False, lifespan="off", ws="none",
            server_header=False,
            http=limited(settings.limits.read_s, settings.limits.connections),
            timeout_graceful_shutdown=GRACE_S, ssl_certfile=cert, ssl_keyfile=key,
        )  # fmt: skip
        try:
            config.load()
        except OSError as error:
            raise ServingError(f"cannot use the certificate {cert} and key {key}: {error}") from error
        return _Web(config)

    async def _open_grpc(self, service: Service) -> tuple[grpc.aio.Server, int] | None:
        settings = self.settings
        if settings.grpc_port is None:
            return None
        server = grpc_server.server(service, allows(settings.key) if settings.key else None)
        address = f"[{settings.host}]" if ":" in settings.host else settings.host
        address = f"{address}:{settings.grpc_port}"
        try:
            if settings.tls:
                cert, key = (path.read_bytes() for path in settings.tls)
                port = server.add_secure_port(address, grpc.ssl_server_credentials([(key, cert)]))
            else:
                port = server.add_insecure_port(address)
        except (RuntimeError, OSError) as error:
            raise ServingError(f"cannot serve gRPC on {address}; choose another --grpc-port") from error
        await server.start()
        return server, port

    def _addresses(self, listening: socket.socket, calls) -> Addresses:
        s, host = "s" if self.settings.tls else "", self.settings.host
        host = f"[{host}]" if ":" in host else host
        there = f"grpc{s}://{host}:{calls[1]}" if calls else None
        if self.settings.socket:
            return Addresses(f"unix:{self.settings.socket}", there)
        return Addresses(f"http{s}://{host}:{listening.getsockname()[1]}", there)


class _Web(uvicorn.Server):
    @contextmanager
    def capture_signals(self):
        """They are for the whole server, not for this part alone."""
        yield


def serve(servables: Iterable[Servable], settings: Settings, tell: Callable[[Addresses], None]) -> None:
    """Until a signal to stop; what runs then is finished first."""

    async def main() -> None:
        server = Server(servables, settings)
        systems.on_stop(asyncio.get_running_loop(), server.stop)
        await server.run(ready)

    def ready(addresses: Addresses) -> None:
        gc.freeze()  # TensorFlow's objects stay: to look through all of them again takes a fifth of a second
        tell(addresses)

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_ours)
    logging.getLogger("cnn_app.serving").setLevel(logging.INFO)
    _give_back_large_blocks()
    with asyncio.Runner(loop_factory=_loop()) as runner:
        runner.run(main())


def _is_ours(record: logging.LogRecord) -> bool:
    """gRPC logs a traceback for an answer whose client has gone."""
    return not (record.exc_info and record.exc_info[0] and record.exc_info[0].__name__ == "ExecuteBatchError")


def _give_back_large_blocks() -> None:
    """glibc keeps blocks as large as the largest that was ever freed, up to 32 MiB, and that is what requests have."""
    with suppress(OSError, AttributeError, TypeError):  # TypeError: Windows has no CDLL(None)
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**20)


def _loop():
    """uvloop's where there is one: it takes a fifth of the time from a call."""
    try:
        import uvloop
    except ImportError:  # Windows
        return None
    return uvloop.new_event_loop


def _all_there(models: Models) -> None:
    for model in models.by_name.values():
        if not model.available:
            errors = [version.error for version in model.versions.values() if version.error]
            raise ServingError(f"{model.name} cannot be served: {errors[0] if errors else 'it has no versions'}")
