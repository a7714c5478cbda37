"""The gRPC server: TF Serving's API, by its own stubs."""

from __future__ import annotations

import functools
from collections.abc import Callable

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from cnn_app.names import DEFAULT
from cnn_app.serving.server import examples, protos
from cnn_app.serving.server.errors import RequestError, invalid
from cnn_app.serving.server.service import Asked, Service

OVERHEAD = 2**20  # bytes of a message beside its tensors


def answering(method: Callable) -> Callable:
    """Errors of requests become gRPC's status codes."""

    @functools.wraps(method)
    async def answer(self, request, context):
        try:
            return await method(self, request)
        except RequestError as error:
            await context.abort(grpc.StatusCode[error.code], str(error))

    return answer


class Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, service: Service):
        self.service = service

    @answering
    async def Predict(self, request):  # noqa: N802  the stubs' names
        most = self.service.limits.body_bytes
        version, outputs = await self.service.predict(
            asked(request.model_spec), "gRPC", lambda known: protos.arrays(request.inputs, most)
        )
        wanted = request.output_filter or outputs
        for name in wanted:
            if name not in outputs:
                raise invalid(
                    f"output tensor alias not found in signature: {name[:100]}; there are {', '.join(outputs)}"
                )
        response = predict_pb2.PredictResponse()
        answered(response.model_spec, request.model_spec, version)
        protos.fill(response.outputs, {name: outputs[name] for name in wanted})
        return response

    @answering
    async def GetModelMetadata(self, request):  # noqa: N802
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for name in request.metadata_field:
            if name != "signature_def":
                raise invalid(f"Metadata field {name[:100]} is not supported; ask for signature_def")
        where = asked(request.model_spec)
        return protos.metadata(where.model, self.service.models[where.model].choose(where.number, where.label))

    @answering
    async def Classify(self, request):  # noqa: N802
        outputs = await examples.run(self.service, asked(request.model_spec), "classify", given(request.input), "gRPC")
        response = classification_pb2.ClassificationResponse()
        response.model_spec.CopyFrom(request.model_spec)
        for row in examples.classes(outputs):
            line = response.result.classifications.add()
            for label, score in row:
                line.classes.add(label=label, score=score)
        return response

    @answering
    async def Regress(self, request):  # noqa: N802
        outputs = await examples.run(self.service, asked(request.model_spec), "regress", given(request.input), "gRPC")
        response = regression_pb2.RegressionResponse()
        response.model_spec.CopyFrom(request.model_spec)
        for value in examples.values(outputs):
            response.result.regressions.add(value=value)
        return response


class Statuses(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, service: Service):
        self.service = service

    @answering
    async def GetModelStatus(self, request):  # noqa: N802
        where = asked(request.model_spec)
        return protos.status(self.service.models[where.model].told(where.number, where.label))


def asked(spec) -> Asked:
    if not spec.name:
        raise invalid("Missing ModelSpec")
    number = spec.version.value if spec.HasField("version") else None
    return Asked(spec.name, number, spec.version_label or None, spec.signature_name or DEFAULT)


def answered(spec, request, version) -> None:
    """Say which version it was."""
    spec.name, spec.signature_name = request.name, request.signature_name or DEFAULT
    spec.version.value = version.number


def given(message) -> list[bytes]:
    """The serialized examples of a Classify or Regress request."""
    if message.HasField("example_list_with_context"):
        listed = message.example_list_with_context
        for example in listed.examples:
            for name, feature in listed.context.features.feature.items():
                example.features.feature[name].CopyFrom(feature)
        found = listed.examples
    else:
        found = message.example_list.examples
    if not found:
        raise invalid("Input is empty.")
    return [example.SerializeToString() for example in found]


class KeyGuard(grpc.aio.ServerInterceptor):
    """Only calls with the key get through."""

    def __init__(self, allows: Callable[[str], bool]):
        self.allows = allows

        async def deny(request, context):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "a key is needed: authorization: Bearer KEY")

        self.denied = grpc.unary_unary_rpc_method_handler(deny)

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
            ("grpc.so_reuseport", 0),  # a second server on the port must fail
        ],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Predictions(service), built)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Statuses(service), built)
    return built
