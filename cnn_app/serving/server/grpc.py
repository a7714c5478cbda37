"""The gRPC server: TF Serving's API. A request comes as bytes, and is looked at before it is parsed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc

from cnn_app.names import DEFAULT
from cnn_app.serving import messages_pb2 as messages
from cnn_app.serving.server import examples, protos, wire
from cnn_app.serving.server.errors import RequestError, invalid, no_answer
from cnn_app.serving.server.examples import Given
from cnn_app.serving.server.service import Asked, Service

if TYPE_CHECKING:
    from cnn_app.serving.server.signatures import Signature
    from cnn_app.tensors import Arrays

log = logging.getLogger(__name__)
OVERHEAD = 2**20  # bytes of a message beside its tensors
READ_BYTES = 64 * 2**20  # of requests that come in: gRPC says how large one is when it is there
WINDOW = 2**16  # bytes of a request that come in before it is read
AGAIN_MS = "500"
Answer = Callable[[Service, Any], Awaitable[Any]]


async def predict(service: Service, request: messages.PredictRequest):
    given, limits = request.inputs, service.limits
    claimed, sent = protos.size(given), request.ByteSize()

    def arrays(known: Signature) -> Arrays:
        protos.check(given, known, limits.rows)
        if claimed > limits.body_bytes:
            raise invalid(f"the inputs have {claimed:,} bytes; at most {limits.body_bytes:,} are taken (--max-body)")
        return {name: protos.array(given[name], name) for name in known.inputs}

    with service.budget.share() as share:
        share.take(max(min(claimed, limits.body_bytes) - sent, 0))
        size = max(claimed, sent)
        version, outputs = await service.predict(asked(request.model_spec), "gRPC", arrays, size=size)
    wanted = request.output_filter or outputs
    for name in wanted:
        if name not in outputs:
            raise invalid(f"output tensor alias not found in signature: {name[:100]}; there are {', '.join(outputs)}")
    response = messages.PredictResponse()
    answered(response.model_spec, request.model_spec, version)
    size = sum(outputs[name].nbytes for name in wanted)
    await service.aside(size, protos.fill, response.outputs, {name: outputs[name] for name in wanted})
    return response


async def metadata(service: Service, request: messages.GetModelMetadataRequest):
    if not request.metadata_field:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for name in request.metadata_field:
        if name != "signature_def":
            raise invalid(f"Metadata field {name[:100]} is not supported; ask for signature_def")
    where = asked(request.model_spec)
    return protos.metadata(where.model, service.models[where.model].choose(where.number, where.label))


async def classify(service: Service, request: messages.ClassificationRequest):
    outputs = await of_examples(service, request, "classify")
    return protos.classifications(request.model_spec, examples.classes(outputs))


async def regress(service: Service, request: messages.RegressionRequest):
    outputs = await of_examples(service, request, "regress")
    return protos.regressions(request.model_spec, examples.values(outputs))


async def of_examples(service: Service, request, method: str):
    listed = request.input.example_list
    context = b""
    if request.input.HasField("example_list_with_context"):
        listed = request.input.example_list_with_context
        context = listed.context
    where = asked(request.model_spec)
    return await service.of_examples(where, "gRPC", method, Given(where.signature, context, list(listed.examples)))


async def status(service: Service, request: messages.GetModelStatusRequest):
    where = asked(request.model_spec)
    return protos.status(service.models[where.model].told(where.number, where.label))


CALLS: dict[str, dict[str, tuple[type, Answer]]] = {
    "PredictionService": {
        "Predict": (messages.PredictRequest, predict),
        "Classify": (messages.ClassificationRequest, classify),
        "Regress": (messages.RegressionRequest, regress),
        "GetModelMetadata": (messages.GetModelMetadataRequest, metadata),
    },
    "ModelService": {"GetModelStatus": (messages.GetModelStatusRequest, status)},
}


def asked(spec: messages.ModelSpec) -> Asked:
    if not spec.name:
        raise invalid("Missing ModelSpec")
    number = spec.version.value if spec.HasField("version") else None
    return Asked(spec.name, number, spec.version_label or None, spec.signature_name or DEFAULT)


def answered(spec: messages.ModelSpec, request: messages.ModelSpec, version) -> None:
    """Say which version it was."""
    spec.name, spec.signature_name = request.name, request.signature_name or DEFAULT
    spec.version.value = version.number


def answering(service: Service, reading: asyncio.Semaphore, kind: type, answer: Answer):
    """A handler that reads one request when there is room for it; errors of requests become gRPC's status codes."""

    async def answer_of(context) -> bytes:
        with service.budget.share() as share:
            data = await read(context, reading, service.limits.read_s)
            share.take(len(data))
            request = await service.aside(len(data), wire.parse, data, kind)
            del data
            response = await answer(service, request)
            return await service.aside(response.ByteSize(), response.SerializeToString)

    async def handle(_, context) -> bytes:
        """Its frame is kept with the error of `abort`, so it has no part in the request's bytes."""
        try:
            return await answer_of(context)
        except RequestError as error:
            code, message = error.grpc_code, str(error)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            log.error("a request failed", exc_info=error)
            code, message = no_answer().grpc_code, str(no_answer())
        again = (("grpc-retry-pushback-ms", AGAIN_MS),) if code == "RESOURCE_EXHAUSTED" else ()
        await context.abort(grpc.StatusCode[code], message, again)
        raise AssertionError  # abort never returns

    return grpc.stream_unary_rpc_method_handler(handle)


async def read(context, reading: asyncio.Semaphore, seconds: float) -> bytes:
    """The bytes of the request. gRPC takes them as they come once it is asked, however many they are."""
    try:
        async with asyncio.timeout(seconds), reading:
            data = await context.read()
    except TimeoutError as error:
        raise RequestError("TOO_SLOW", f"the request did not come in within {seconds:g} seconds") from error
    if data is grpc.aio.EOF:
        raise invalid("the call came without a request")
    return data


class KeyGuard(grpc.aio.ServerInterceptor):
    """Only calls with the key get through."""

    def __init__(self, allows: Callable[[str], bool]):
        self.allows = allows

        async def deny(_, context):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "a key is needed: authorization: Bearer KEY")

        self.denied = grpc.stream_unary_rpc_method_handler(deny)

    async def intercept_service(self, continuation, details):
        given = next((value for name, value in details.invocation_metadata if name == "authorization"), "")
        return await continuation(details) if self.allows(given) else self.denied


def server(service: Service, allows: Callable[[str], bool] | None) -> grpc.aio.Server:
    limits = service.limits
    built = grpc.aio.server(
        interceptors=[KeyGuard(allows)] if allows else [],
        maximum_concurrent_rpcs=limits.connections,
        options=[
            ("grpc.max_receive_message_length", limits.body_bytes + OVERHEAD),
            ("grpc.http2.lookahead_bytes", WINDOW),
            ("grpc.http2.bdp_probe", 0),
            ("grpc.so_reuseport", 0),  # a second server on the port must fail
        ],
    )
    reading = asyncio.Semaphore(max(1, READ_BYTES // (limits.body_bytes + OVERHEAD)))
    for name, calls in CALLS.items():
        handlers = {call: answering(service, reading, *what) for call, what in calls.items()}
        built.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(f"tensorflow.serving.{name}", handlers)])
    return built
