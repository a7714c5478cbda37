"""Who may ask: holders of the key, or where there is none, programs of this machine."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from cnn_app.names import LOOPBACK
from cnn_app.serving.server import offer, rest

OPEN = ("/", *(f"/{file.name}" for file in offer.FILES), "/healthz")  # they say nothing of the models


class KeyGuard:
    """ASGI: only requests with the key get through, but for the page and its health."""

    def __init__(self, app: ASGIApp, allows: Callable[[str], bool]):
        self.app, self.allows = app, allows

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN:
            given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            if not self.allows(given.decode("latin-1")):
                response = rest.error("a key is needed: Authorization: Bearer KEY", 401)
                return await response(scope, receive, send)
        await self.app(scope, receive, send)


class HostGuard:
    """ASGI: only requests to a name of this machine; a page elsewhere may have given its own name our address."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
            if given and host_of(given) not in LOOPBACK:
                response = rest.error(
                    f"this server is not {given[:100]}; ask 127.0.0.1, or serve with a key and TLS", 403
                )
                return await response(scope, receive, send)
        await self.app(scope, receive, send)


class OriginGuard:
    """ASGI: a browser sends along where a page is from that posts; only our own and `origins` may."""

    def __init__(self, app: ASGIApp, origins: Collection[str]):
        self.app, self.origins = app, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            given = {name: value.decode("latin-1") for name, value in scope["headers"] if name in (b"origin", b"host")}
            origin = given.get(b"origin")
            if origin and origin not in self.origins and place_of(origin) != given.get(b"host"):
                response = rest.error(f"pages of {origin[:100]} may not ask; --origins names those that may", 403)
                return await response(scope, receive, send)
        await self.app(scope, receive, send)


def place_of(origin: str) -> str:
    """Host and port of an Origin header."""
    return origin.rpartition("://")[2]


def host_of(given: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f"//{given}").hostname or ""
    except ValueError:
        return ""


def allows(key: str) -> Callable[[str], bool]:
    """Whether an Authorization header holds `key`; the comparison takes as long for any."""
    expected = f"Bearer {key}".encode()
    return lambda given: hmac.compare_digest(given.encode(), expected)
