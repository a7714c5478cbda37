"""Why a request is not answered, in gRPC's codes, and the HTTP status that TF Serving gives each of them."""

from __future__ import annotations

from cnn_app.errors import ServingError

HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "TOO_SLOW": 408,  # this and the next are HTTP's alone
    "TOO_LARGE": 413,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


GRPC_CODE = {"TOO_SLOW": "DEADLINE_EXCEEDED", "TOO_LARGE": "INVALID_ARGUMENT"}


class RequestError(ServingError):
    """A request's own fault, or the server's; either way the server goes on. The message is one line of clean text."""

    def __init__(self, code: str, message: str):
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in message))
        self.code = code
        self.http_status, self.grpc_code = HTTP_STATUS[code], GRPC_CODE.get(code, code)


def invalid(message: str) -> RequestError:
    return RequestError("INVALID_ARGUMENT", message)


def not_found(message: str) -> RequestError:
    return RequestError("NOT_FOUND", message)


def no_answer() -> RequestError:
    """For a bug of ours or of a model: its traceback stays in the log."""
    return RequestError("INTERNAL", "the server failed on this request; its log says why")
