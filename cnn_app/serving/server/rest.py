"""The REST server: TF Serving's API, and beside it the page, the metrics and the health of the server.

https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from cnn_app.serving.server import examples, json_child, json_tensor, metrics, offer, protos
from cnn_app.serving.server.budget import Share
from cnn_app.serving.server.errors import RequestError, invalid, no_answer
from cnn_app.serving.server.service import Asked, Service

POST = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:(classify|regress|predict)", re.I)
GET = re.compile(r"/v1/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?(?:/(metadata))?", re.I)
PIECE = 2**18  # characters of a large answer
AGAIN_S = 1
SAFE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def application(service: Service) -> Starlette:
    async def get(request: Request) -> Response:
        name, number, label, what = matched(GET, request)
        if not name:
            raise invalid(f"Missing model name in request; models here: {', '.join(service.models.by_name)}")
        model = service.models[name]
        if not what:
            return reply(protos.status_json(model.told(number, label)), indent=1)
        version = model.choose(number, label)
        return reply(protos.metadata_json(name, version), indent=1)

    async def post(request: Request) -> Response:
        name, number, label, what = matched(POST, request)
        method = what.lower()
        version = service.models[name].choose(number, label)  # before a body is waited for
        assert version.engine
        with service.budget.share() as share:
            data = await body(request, service, share)
            if json_child.is_heavy(data):
                given = await service.reader.read(data, method, version.engine.signatures)
            else:
                given = json_child.read(data, method, version.engine.signatures, service.limits.rows)
            del data
            asked = Asked(name, number, label, given.signature)
            if given.examples:
                return reply(told(method, await service.of_examples(asked, "REST", method, given.examples)))
            _, outputs = await service.predict(asked, "REST", lambda known: given.arrays)
        if given.by_rows:
            json_tensor.check_rows(outputs)
        pieces = json_tensor.answer(outputs, given.by_rows)
        if sum(array.size for array in outputs.values()) > json_tensor.AT_ONCE:
            return StreamingResponse(joined(pieces), media_type="application/json")
        return Response(encoded("".join(pieces)), media_type="application/json")

    async def v1(request: Request) -> Response:
        return await {"GET": get, "POST": post}.get(request.method, malformed)(request)

    async def models(request: Request) -> Response:
        """What the page offers."""
        return reply(offer.told(service.models))

    async def health(request: Request) -> Response:
        ready = service.models.ready and not service.draining
        return JSONResponse({"status": "ready" if ready else "not ready"}, 200 if ready else 503)

    async def measurements(request: Request) -> Response:
        return Response(service.metrics.page(), media_type="text/plain; version=0.0.4")

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]  # TF Serving answers each of them with its own 400
    return Starlette(
        routes=[
            *(Route(f"/{v}1/{{rest:path}}", v1, methods=methods) for v in "vV"),
            Route("/models.json", models),
            Route("/healthz", health),
            Route(metrics.PATH, measurements),
            *(Route(f"/{file.name}", asset(file)) for file in offer.FILES),
            Route("/", index),
        ],
        exception_handlers={RequestError: failed, HTTPException: not_here, ClientDisconnect: gone, Exception: broken},
    )


async def index(request: Request) -> Response:
    return HTMLResponse(offer.index(), headers=SAFE)


def asset(file: Path):
    async def send(request: Request) -> Response:
        return FileResponse(file, headers=SAFE)

    return send


def matched(pattern: re.Pattern, request: Request) -> tuple[str, int | None, str | None, str]:
    path = request.scope["raw_path"].decode("ascii", "replace")
    found = pattern.fullmatch(path)
    if not found:
        raise invalid(f"Malformed request: {request.method} {path[:200]}")
    name, number, label, what = found.groups()
    if number and int(number) >= 2**63:
        raise invalid(f"Failed to convert version: {number[:30]} to numeric.")
    return unquote(name or ""), int(number) if number else None, unquote(label) if label else None, what or ""


async def malformed(request: Request) -> Response:
    raise invalid(f"Malformed request: {request.method} {request.url.path[:200]}")


async def body(request: Request, service: Service, share: Share) -> bytearray:
    """What the client sends, unless it is too much or takes too long."""
    most, seconds = service.limits.body_bytes, service.limits.read_s
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > most:
        raise RequestError("TOO_LARGE", f"the body has {announced[:20]} bytes; at most {most:,} are taken (--max-body)")
    found = bytearray()
    try:
        async with asyncio.timeout(seconds):
            try:
                share.take(int(announced))
                async for part in request.stream():
                    found += part
                    if len(found) > share.size:
                        share.take(len(part))
                    if len(found) > most:
                        raise RequestError("TOO_LARGE", f"the body has more than the {most:,} bytes that are taken "
                                           "(--max-body)")  # fmt: skip
            except RequestError as wrong:
                if wrong.code == "RESOURCE_EXHAUSTED":  # who still sends would not see why
                    await discard(request, most)
                raise
    except TimeoutError as error:
        raise RequestError("TOO_SLOW", f"the request did not come in within {seconds:g} seconds") from error
    return found


async def discard(request: Request, most: int) -> None:
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            return


async def joined(pieces: Iterator[str]) -> AsyncIterator[bytes]:
    """Pieces of text as some larger ones, made in a thread."""

    def more() -> bytes:
        size, found = 0, []
        for piece in pieces:
            found.append(piece)
            size += len(piece)
            if size > PIECE:
                break
        return encoded("".join(found))

    while part := await asyncio.to_thread(more):
        yield part


def told(method: str, outputs) -> dict:
    """The JSON for the examples' classes or values."""
    if method == "regress":
        return {"results": examples.values(outputs).tolist()}
    return {"results": [[[label, score] for label, score in row] for row in examples.classes(outputs)]}


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def reply(value, indent: int | None = None, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """TF Serving's JSON knows NaN."""
    return Response(encoded(json.dumps(value, ensure_ascii=False, indent=indent)), status, headers,
                    media_type="application/json")  # fmt: skip


def error(message: str, status: int) -> Response:
    rest_unread = status in (401, 403, 408, 413, 429)  # a body that nobody reads is not to be taken for a request
    headers = {"Connection": "close"} if rest_unread else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        headers["Retry-After"] = str(AGAIN_S)
    return reply({"error": message}, status=status, headers=headers)


async def failed(request: Request, exception: Exception) -> Response:
    assert isinstance(exception, RequestError)
    return error(str(exception), exception.http_status)


async def not_here(request: Request, exception: Exception) -> Response:
    assert isinstance(exception, HTTPException)
    where = ascii(request.url.path[:200])[1:-1]
    return error(f"{request.method} {where}: {exception.detail}", exception.status_code)


async def gone(request: Request, exception: Exception) -> Response:
    return error("the client closed the request", 499)


async def broken(request: Request, exception: Exception) -> Response:
    return error(str(no_answer()), 500)
