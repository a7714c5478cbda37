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
from cnn_app.serving.client.transport import Record, TryAgain, patiently

if TYPE_CHECKING:
    from cnn_app.tensors import Arrays

BUSY = (429, 503)
NO_ANSWER = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ProtocolError)  # refused; ended before its time
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
        trusted = ssl.create_default_context(cafile=endpoint.ca)
        self.pool = urllib3.PoolManager(maxsize=endpoint.parallel, timeout=endpoint.timeout_s, retries=False,
                                        ssl_context=trusted)  # fmt: skip

    def ask(self, record: Record, signature: str) -> Arrays:
        body = json.dumps({"signature_name": signature, "instances": [_value(record)]})
        found = patiently(lambda: self._asked("POST", f"{self.place}:predict", body))
        try:
            row = found["predictions"][0]
        except (TypeError, KeyError, IndexError) as error:
            raise ServingError(f"{self.endpoint} answers without predictions; is it TF Serving?") from error
        outputs = row if isinstance(row, dict) else {"probabilities": row}  # a single output goes without its name
        return {name: _array(value) for name, value in outputs.items()}

    def signatures(self) -> set[str]:
        found = patiently(lambda: self._asked("GET", f"{self.place}/metadata"))
        try:
            return set(found["metadata"]["signature_def"]["signature_def"])
        except (TypeError, KeyError) as error:
            raise ServingError(f"{self.endpoint} answers without signatures; is it TF Serving?") from error

    def _asked(self, method: str, url: str, body: str | None = None):
        """The JSON of an answer."""
        try:
            response = self.pool.request(method, url, body=body, headers=self.headers)
        except urllib3.exceptions.HTTPError as error:
            failed = ServingError(f"cannot reach {self.endpoint}: {_short(error)}")
            raise (TryAgain(failed) if isinstance(error, NO_ANSWER) else failed) from error
        try:
            found = json.loads(response.data)
        except ValueError as error:
            what = f"{response.status} {response.reason}, and no JSON"
            raise _refusal(response, ServingError(f"{self.endpoint} answers {what}; is it TF Serving?")) from error
        if response.status != 200:
            message = found.get("error", "") if isinstance(found, dict) else ""
            kind = RecordError if response.status in OF_A_RECORD else ServingError
            raise _refusal(response, kind(f"{self.endpoint} answers {response.status}: {str(message)[:500]}"))
        return found

    def close(self) -> None:
        self.pool.clear()


def _refusal(response, error: ServingError) -> Exception:
    """What to raise: a busy server may be asked again, when it says so."""
    after = response.headers.get("Retry-After", "")
    return TryAgain(error, int(after) if after.isdecimal() else None) if response.status in BUSY else error


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
