"""The client's way over REST."""

from __future__ import annotations

import base64
import json
import ssl
from typing import TYPE_CHECKING

import numpy as np
import urllib3

from cnn_app.errors import ServingError
from cnn_app.serving.client.answer import RecordError
from cnn_app.serving.client.endpoint import Endpoint
from cnn_app.serving.client.transport import RETRIES, Record

if TYPE_CHECKING:
    from cnn_app.tensors import Arrays

BACKOFF_S = 0.1  # doubled each time
OF_A_RECORD = (400, 413, 500)  # statuses that say nothing of the next record


class RestTransport:
    def __init__(self, endpoint: Endpoint):
        self.endpoint = endpoint
        number, label = endpoint.version, endpoint.label
        place = f"/versions/{number}" if number is not None else f"/labels/{label}" if label else ""
        self.place = f"{endpoint.scheme}://{endpoint.host}/v1/models/{endpoint.name}{place}"
        self.headers = {"Content-Type": "application/json"}
        if endpoint.api_key:
            self.headers["Authorization"] = f"Bearer {endpoint.api_key}"
        retries = urllib3.Retry(total=None, connect=RETRIES, status=RETRIES, read=0, redirect=0, other=0,
                                status_forcelist=(503,), allowed_methods=None, raise_on_status=False,
                                backoff_factor=BACKOFF_S, backoff_jitter=BACKOFF_S)  # fmt: skip
        trusted = ssl.create_default_context(cafile=endpoint.ca)
        self.pool = urllib3.PoolManager(maxsize=endpoint.parallel, timeout=endpoint.timeout_s, retries=retries,
                                        ssl_context=trusted)  # fmt: skip

    def ask(self, record: Record, signature: str) -> Arrays:
        body = json.dumps({"signature_name": signature, "instances": [_value(record)]})
        found = self._asked("POST", f"{self.place}:predict", body)
        try:
            row = found["predictions"][0]
        except (TypeError, KeyError, IndexError) as error:
            raise ServingError(f"{self.endpoint} answers without predictions; is it TF Serving?") from error
        outputs = row if isinstance(row, dict) else {"probabilities": row}  # a single output goes without its name
        return {name: _array(value) for name, value in outputs.items()}

    def signatures(self) -> set[str]:
        found = self._asked("GET", f"{self.place}/metadata")
        try:
            return set(found["metadata"]["signature_def"]["signature_def"])
        except (TypeError, KeyError) as error:
            raise ServingError(f"{self.endpoint} answers without signatures; is it TF Serving?") from error

    def _asked(self, method: str, url: str, body: str | None = None):
        """The JSON of an answer."""
        try:
            response = self.pool.request(method, url, body=body, headers=self.headers)
            found = json.loads(response.data)
        except urllib3.exceptions.HTTPError as error:
            reason = getattr(error, "reason", None) or error
            raise ServingError(f"cannot reach {self.endpoint}: {_short(reason)}") from error
        except ValueError as error:
            what = f"{response.status} {response.reason}, and no JSON"
            raise ServingError(f"{self.endpoint} answers {what}; is it TF Serving?") from error
        if response.status != 200:
            message = found.get("error", "") if isinstance(found, dict) else ""
            kind = RecordError if response.status in OF_A_RECORD else ServingError
            raise kind(f"{self.endpoint} answers {response.status}: {str(message)[:500]}")
        return found

    def close(self) -> None:
        self.pool.clear()


def _value(record: Record):
    if isinstance(record, bytes):
        return {"b64": base64.b64encode(record).decode()}
    return record if isinstance(record, str) else record.tolist()


def _array(value) -> np.ndarray:
    """A JSON value as gRPC would give it: strings are bytes."""
    leaf = value
    while isinstance(leaf, list) and leaf:
        leaf = leaf[0]
    return np.array(_bytes(value), object) if isinstance(leaf, str | dict) else np.asarray(value)


def _bytes(value):
    if isinstance(value, list):
        return [_bytes(item) for item in value]
    return value.encode() if isinstance(value, str) else base64.b64decode(value["b64"])


def _short(error) -> str:
    """urllib3 puts its own object in front."""
    return str(error).rpartition(">: ")[2].rpartition("): ")[2][:200]
