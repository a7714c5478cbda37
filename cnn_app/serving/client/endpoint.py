"""Where to ask, whom, and how."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from cnn_app.errors import ServingError
from cnn_app.names import LOOPBACK

SCHEMES = ("http", "https", "grpc", "grpcs")
PLACE = re.compile(r"/?(?:v1/models/)?([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?/?")


@dataclass(frozen=True)
class Endpoint:
    address: str  # as it was given
    scheme: str
    host: str  # with the port
    name: str
    version: int | None = None
    label: str | None = None
    api_key: str | None = None
    timeout_s: float = 30
    ca: str | None = None  # a PEM file to trust
    parallel: int = 8  # requests at a time

    @property
    def secure(self) -> bool:
        return self.scheme in ("https", "grpcs")

    def __str__(self) -> str:
        return self.address


def parse(
    address: str,
    api_key: str | None = None,
    timeout_s: float = 30,
    ca: str | os.PathLike[str] | None = None,
    parallel: int = 8,
) -> Endpoint:
    """http, https, grpc or grpcs://HOST:PORT/NAME[/versions/N or /labels/L]."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise ServingError(f"{address} is no address: {error}") from error
    place = PLACE.fullmatch(parts.path)
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise ServingError(f"{address!r} is no endpoint; write http://HOST:PORT/NAME or grpc://HOST:PORT/NAME")
    if not place:
        raise ServingError(f"{address} names no model; write {parts.scheme}://{parts.netloc}/NAME")
    name, version, label = place.groups()
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    found = Endpoint(address, parts.scheme, f"{host}:{port}" if port else host, name, int(version) if version else None,
                     label, api_key, timeout_s, os.fspath(ca) if ca else None, parallel)  # fmt: skip
    if api_key and not found.secure and parts.hostname not in LOOPBACK:
        raise ServingError(f"{address} would carry the key in the open; write {parts.scheme}s://")
    return found
