"""The client's way over gRPC."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np

from cnn_app.errors import ServingError
from cnn_app.serving import messages_pb2 as messages
from cnn_app.serving import tensor_proto
from cnn_app.serving.client.answer import RecordError
from cnn_app.serving.client.endpoint import Endpoint
from cnn_app.serving.client.transport import Record, TryAgain, patiently

if TYPE_CHECKING:
    from cnn_app.tensors import Arrays

SERVICE = "/tensorflow.serving.PredictionService"
RECONNECT_MS = 200  # gRPC's own minute would outlast the retries
MAX_ANSWER_BYTES = 64 * 2**20
PUSHBACK = "grpc-retry-pushback-ms"  # in the metadata of a refusal: when to come again
NO_ANSWER = ("UNAVAILABLE", "CANCELLED")  # nobody listens, the server is busy, or it went away with the call
OF_A_RECORD = ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "INTERNAL")  # codes that say nothing of the next record


class GrpcTransport:
    def __init__(self, endpoint: Endpoint):
        self.endpoint = endpoint
        options = [
            ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
            *((f"grpc.{which}_reconnect_backoff_ms", RECONNECT_MS) for which in ("initial", "min", "max")),
        ]
        if endpoint.secure:
            trusted = Path(endpoint.ca).read_bytes() if endpoint.ca else None
            self.channel = grpc.secure_channel(endpoint.host, grpc.ssl_channel_credentials(trusted), options)
        else:
            self.channel = grpc.insecure_channel(endpoint.host, options)
        self.metadata = [("authorization", f"Bearer {endpoint.api_key}")] if endpoint.api_key else []
        self._predict = self._call("Predict", messages.PredictResponse)
        self._about = self._call("GetModelMetadata", messages.GetModelMetadataResponse)
        self._inputs: dict[str, str] = {}  # the input of each signature

    def ask(self, record: Record, signature: str) -> Arrays:
        name = self._input(signature)
        request = messages.PredictRequest(model_spec=self._whom())
        request.model_spec.signature_name = signature
        tensor_proto.fill(request.inputs[name], _value(record))
        response = self._asked(self._predict, request, RecordError)
        found = {name: tensor_proto.array(tensor) for name, tensor in response.outputs.items()}
        return {name: rows[:1].reshape(rows.shape[1:]) for name, rows in found.items()}

    def signatures(self) -> set[str]:
        return set(self._known())

    def _input(self, signature: str) -> str:
        if signature not in self._known():
            known = ", ".join(sorted(self._inputs))
            raise ServingError(f"{self.endpoint} has no signature {signature}, it has {known}; export it anew")
        return self._inputs[signature]

    def _known(self) -> dict[str, str]:
        """The one input of each signature."""
        if not self._inputs:
            request = messages.GetModelMetadataRequest(model_spec=self._whom(), metadata_field=["signature_def"])
            packed = self._asked(self._about, request, ServingError).metadata["signature_def"]
            found = messages.SignatureDefMap.FromString(packed.value).signature_def
            self._inputs = {name: next(iter(one.inputs)) for name, one in found.items() if len(one.inputs) == 1}
        return self._inputs

    def _whom(self) -> messages.ModelSpec:
        spec = messages.ModelSpec(name=self.endpoint.name)
        if self.endpoint.version is not None:
            spec.version.value = self.endpoint.version
        elif self.endpoint.label:
            spec.version_label = self.endpoint.label
        return spec

    def _call(self, name: str, response):
        return self.channel.unary_unary(f"{SERVICE}/{name}", lambda message: message.SerializeToString(),
                                        response.FromString)  # fmt: skip

    def _asked(self, call, request, of_a_record: type[ServingError]):
        def ask():
            try:
                return call(request, timeout=self.endpoint.timeout_s, metadata=self.metadata)
            except grpc.RpcError as error:
                code, wait_s = error.code().name, _pushback(error)
                kind = of_a_record if code in OF_A_RECORD else ServingError
                refused = kind(f"{self.endpoint} answers {code}: {error.details()[:500]}")
                raise (TryAgain(refused, wait_s) if code in NO_ANSWER or wait_s is not None else refused) from error

        return patiently(ask)

    def close(self) -> None:
        self.channel.close()


def _pushback(error: grpc.RpcError) -> float | None:
    """Seconds after which the server wants to be asked again, where it says so."""
    given = dict(error.trailing_metadata() or ()).get(PUSHBACK, "")
    return int(given) / 1e3 if given.isdecimal() else None


def _value(record: Record) -> np.ndarray:
    """A batch of one."""
    if isinstance(record, np.ndarray):
        return record[None]
    return np.array([record.encode() if isinstance(record, str) else record], object)
