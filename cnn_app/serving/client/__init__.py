"""Ask a server, ours or TF Serving, for the labels of images. Neither TensorFlow nor the model is needed for it.

with Client("http://127.0.0.1:8501/photos") as client:
    for answer in client.answers(images):
        print(answer.top())
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import numpy as np

from cnn_app.errors import ServingError

IMAGES, PIXELS, FLOATS = "image_bytes", "serving_default", "float_pixels"  # signatures, by what is sent
PLACE = re.compile(r"/?(?:v1/models/)?([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?/?")
RETRIES = 4  # when nobody listens, or the server says that it is busy
Image = bytes | np.ndarray  # encoded, or pixels (height, width, channels) in [0, 255]


@dataclass(frozen=True)
class Target:
    """Where to ask, and whom."""

    endpoint: str
    secure: bool
    host: str  # with the port
    name: str
    version: int | None = None
    label: str | None = None
    api_key: str | None = None
    timeout_s: float = 30
    ca: str | None = None
    parallel: int = 8


@dataclass(frozen=True)
class Answer:
    """What a server says of one image; it names the best classes if it knows their labels."""

    probabilities: np.ndarray  # (classes,), float32; empty if the model does not give them
    labels: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()

    def top(self, k: int = 5) -> list[dict]:
        """The best k, or as many as the server named: [{"label", "probability"}]."""
        if self.labels:
            found = list(zip(self.labels, self.scores, strict=True))
        else:
            order = np.argsort(-self.probabilities, kind="stable")
            found = [(str(i), float(self.probabilities[i])) for i in order]
        return [{"label": label, "probability": float(score)} for label, score in found[:k]]


class Door(Protocol):
    def ask(self, image: Image, signature: str) -> dict: ...

    def close(self) -> None: ...


class Client:
    """endpoint: http, https, grpc or grpcs://HOST:PORT/NAME[/versions/N or /labels/L]. `ca`: a PEM file to trust.

    Connections that are refused and servers that are busy are tried again after a while; nothing else is.
    """

    def __init__(
        self,
        endpoint: str,
        api_key: str | None = None,
        timeout: float = 30,  # seconds for an answer
        ca: str | os.PathLike[str] | None = None,
        parallel: int = 8,
    ):
        target = parsed(endpoint, api_key, timeout, ca, parallel)
        if endpoint.startswith("grpc"):
            from cnn_app.serving.client_grpc import GrpcDoor as Chosen
        else:
            from cnn_app.serving.client_rest import RestDoor as Chosen  # type: ignore[assignment]
        self.target, self.door = target, Chosen(target)
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="ask")

    def predict(self, images: Iterable[Image]) -> list[Answer]:
        return list(self.answers(images))

    def answers(self, images: Iterable[Image]) -> Iterator[Answer]:
        """In the order of the images, `parallel` of which are asked for at a time."""
        running: deque[Future[Answer]] = deque()
        try:
            for image in images:
                running.append(self._pool.submit(self._one, image))
                if len(running) >= 2 * self.target.parallel:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()

    def _one(self, image: Image) -> Answer:
        if isinstance(image, bytes):
            signature = IMAGES
        else:
            signature = PIXELS if image.dtype == np.uint8 else FLOATS
        found = self.door.ask(image, signature)
        probabilities = np.asarray(found.get("probabilities", ()), np.float32)
        labels = tuple(label.decode() if isinstance(label, bytes) else label for label in found.get("classes", ()))
        if not (labels or probabilities.size):
            raise ServingError(f"{self.target.endpoint} answers with {', '.join(found)}; probabilities are expected")
        return Answer(probabilities, labels, tuple(map(float, found.get("scores", ()))))

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self.door.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error) -> None:
        self.close()


def parsed(endpoint: str, api_key: str | None, timeout_s: float, ca, parallel: int) -> Target:
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError as error:
        raise ServingError(f"{endpoint} is no address: {error}") from error
    place = PLACE.fullmatch(parts.path)
    if parts.scheme not in ("http", "https", "grpc", "grpcs") or not parts.hostname:
        raise ServingError(f"{endpoint!r} is no endpoint; write http://HOST:PORT/NAME or grpc://HOST:PORT/NAME")
    if not place:
        raise ServingError(f"{endpoint} names no model; write {parts.scheme}://{parts.netloc}/NAME")
    name, version, label = place.groups()
    secure = parts.scheme in ("https", "grpcs")
    if api_key and not secure and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise ServingError(f"{endpoint} would carry the key in the open; write {parts.scheme}s://")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Target(endpoint, secure, f"{host}:{port}" if port else host, name, int(version) if version else None, label,
                  api_key, timeout_s, os.fspath(ca) if ca else None, parallel)  # fmt: skip
