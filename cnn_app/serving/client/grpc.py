"""The client's way over gRPC."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import numpy as np

from cnn_app.errors import ServingError
from cnn_app.serving import wire
from cnn_app.serving.client import RETRIES, Image, Target

RETRY = {
    "maxAttempts": 1 + RETRIES,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
RECONNECT_MS = 200  # gRPC's own minute would outlast the retries
MAX_ANSWER_BYTES = 64 * 2**20


class GrpcDoor:
    def __init__(self, target: Target):
        self.target = target
        policy = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": RETRY}]})
        options = [
            ("grpc.service_config", policy),
            ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
            *((f"grpc.{which}_reconnect_backoff_ms", RECONNECT_MS) for which in ("initial", "min", "max")),
        ]
        if target.secure:
            trusted = Path(target.ca).read_bytes() if target.ca else None
            self.channel = grpc.secure_channel(target.host, grpc.ssl_channel_credentials(trusted), options)
        else:
            self.channel = grpc.insecure_channel(target.host, options)
        self.metadata = [("authorization", f"Bearer {target.api_key}")] if target.api_key else []
        self._predict = self._call("Predict", "PredictResponse")
        self._about = self._call("GetModelMetadata", "MetadataResponse")
        self._inputs: dict[str, str] = {}  # the input of each signature

    def ask(self, image: Image, signature: str) -> dict:
        request = wire.CLASSES["PredictRequest"]()
        self._whom(request.model_spec)
        request.model_spec.signature_name = signature
        value = np.array([image], object) if isinstance(image, bytes) else image[None]
        wire.fill(request.inputs[self._input(signature)], value)
        response = self._asked(self._predict, request)
        return {name: wire.array(tensor)[0] for name, tensor in response.outputs.items()}

    def _input(self, signature: str) -> str:
        if not self._inputs:
            request = wire.CLASSES["MetadataRequest"](metadata_field=["signature_def"])
            self._whom(request.model_spec)
            packed = self._asked(self._about, request).metadata["signature_def"]
            found = wire.CLASSES["Signatures"].FromString(packed.value).signature_def
            self._inputs = {name: next(iter(one.inputs)) for name, one in found.items() if len(one.inputs) == 1}
        if signature not in self._inputs:
            known = ", ".join(sorted(self._inputs))
            raise ServingError(f"{self.target.endpoint} has no signature {signature}, it has {known}; export it anew")
        return self._inputs[signature]

    def _whom(self, spec) -> None:
        spec.name = self.target.name
        if self.target.version is not None:
            spec.version.value = self.target.version
        if self.target.label:
            spec.version_label = self.target.label

    def _call(self, name: str, response: str):
        return self.channel.unary_unary(f"{wire.SERVICE}/{name}", lambda message: message.SerializeToString(),
                                        wire.CLASSES[response].FromString)  # fmt: skip

    def _asked(self, call, request):
        try:
            return call(request, timeout=self.target.timeout_s, metadata=self.metadata)
        except grpc.RpcError as error:
            what = f"{error.code().name}: {error.details()[:500]}"
            raise ServingError(f"{self.target.endpoint} answers {what}") from error

    def close(self) -> None:
        self.channel.close()
