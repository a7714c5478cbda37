"""The REST server: TF Serving's API, and beside it the page, the metrics and the health of the server.

https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

import asyncio
import json
import re
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from cnn_app.inputs import by_encoded
from cnn_app.serving.server import examples, json_tensor, metrics, protos
from cnn_app.serving.server.errors import RequestError, invalid, no_answer
from cnn_app.serving.server.service import Asked, Service

PAGE = Path(__file__).with_name("page")
POST = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:(classify|regress|predict)", re.I)
GET = re.compile(r"/v1/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?(?:/(metadata))?", re.I)
HEAVY = 2**20  # bytes of a body that takes long to read
SAFE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
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
        service.models[name].choose(number, label)  # before a body is waited for
        data = await body(request, service)
        heavy = len(data) > HEAVY
        if what.lower() != "predict":
            given = await asyncio.to_thread(examples.parse, data) if heavy else examples.parse(data)
            asked = Asked(name, number, label, given.signature)
            return reply(await examples.answer(service, asked, what.lower(), given.examples, "REST"))
        found = await asyncio.to_thread(json_tensor.body, data) if heavy else json_tensor.body(data)
        asked = Asked(name, number, label, found.signature)
        _, outputs = await service.predict(asked, "REST", lambda known: json_tensor.arrays(found, known), heavy=heavy)
        large = sum(array.size for array in outputs.values()) > json_tensor.AT_ONCE
        answer = partial(json_tensor.answer, outputs, found.by_rows)
        return reply(await asyncio.to_thread(answer) if large else answer())

    async def v1(request: Request) -> Response:
        return await {"GET": get, "POST": post}.get(request.method, malformed)(request)

    async def models(request: Request) -> Response:
        """What the page offers."""
        return JSONResponse([
            {"name": model.name, "version": version.number, "engine": version.engine.kind, "labels": [
                label for label, number in model.labels.items() if number == version.number
            ], "signatures": list(version.engine.signatures), "encoded": [
                name for name, known in version.engine.signatures.items()
                if known.of_strings and by_encoded(name)
            ]}
            for model in service.models.by_name.values() for version in reversed(model.available.values())
            if version.engine
        ])  # fmt: skip

    async def health(request: Request) -> Response:
        ready = service.models.ready
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
            *(Route(f"/{file.name}", asset(file)) for file in sorted(PAGE.glob("page.*"))),
            Route("/", asset(PAGE / "index.html")),
        ],
        exception_handlers={RequestError: failed, HTTPException: not_here, ClientDisconnect: gone, Exception: broken},
    )


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


async def body(request: Request, service: Service) -> bytes:
    """What the client sends, unless it is too much or takes too long."""
    most, seconds = service.limits.body_bytes, service.limits.read_s
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > most:
        raise RequestError("TOO_LARGE", f"the body has {announced[:20]} bytes; at most {most:,} are taken")
    parts, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise RequestError("TOO_LARGE", f"the body has more than the {most:,} bytes that are taken")
                parts.append(part)
    except TimeoutError as error:
        raise RequestError("TOO_SLOW", f"the request did not come in within {seconds:g} seconds") from error
    return b"".join(parts)


def reply(value, indent: int | None = None) -> Response:
    """TF Serving's JSON knows NaN."""
    return Response(json.dumps(value, ensure_ascii=False, indent=indent).encode("utf-8", "replace"),
                    media_type="application/json")  # fmt: skip


def error(message: str, status: int) -> Response:
    rest_unread = status in (401, 408, 413)  # a body that nobody reads must not be taken for the next request
    headers = {"Connection": "close"} if rest_unread else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": message}, status, headers)


async def failed(request: Request, exception: Exception) -> Response:
    assert isinstance(exception, RequestError)
    return error(str(exception), exception.http_status)


async def not_here(request: Request, exception: Exception) -> Response:
    assert isinstance(exception, HTTPException)
    return error(f"{request.method} {request.url.path[:200]}: {exception.detail}", exception.status_code)


async def gone(request: Request, exception: Exception) -> Response:
    return error("the client closed the request", 499)


async def broken(request: Request, exception: Exception) -> Response:
    return error(str(no_answer()), 500)
