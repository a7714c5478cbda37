"""The client's way over REST."""

from __future__ import annotations

import base64
import json
import ssl

import numpy as np
import urllib3

from cnn_app.errors import ServingError
from cnn_app.serving.client import RETRIES, Image, Target

BACKOFF_S = 0.1  # doubled each time


class RestDoor:
    def __init__(self, target: Target):
        self.target = target
        number, label = target.version, target.label
        place = f"/versions/{number}" if number is not None else f"/labels/{label}" if label else ""
        self.url = f"http{'s' * target.secure}://{target.host}/v1/models/{target.name}{place}:predict"
        self.headers = {"Content-Type": "application/json"}
        if target.api_key:
            self.headers["Authorization"] = f"Bearer {target.api_key}"
        retries = urllib3.Retry(total=None, connect=RETRIES, status=RETRIES, read=0, redirect=0, other=0,
                                status_forcelist=(503,), allowed_methods=None, raise_on_status=False,
                                backoff_factor=BACKOFF_S, backoff_jitter=BACKOFF_S)  # fmt: skip
        trusted = ssl.create_default_context(cafile=target.ca)
        self.pool = urllib3.PoolManager(maxsize=target.parallel, timeout=target.timeout_s, retries=retries,
                                        ssl_context=trusted)  # fmt: skip

    def ask(self, image: Image, signature: str) -> dict:
        value = {"b64": base64.b64encode(image).decode()} if isinstance(image, bytes) else image.tolist()
        body = json.dumps({"signature_name": signature, "instances": [value]})
        try:
            response = self.pool.request("POST", self.url, body=body, headers=self.headers)
            found = json.loads(response.data)
        except urllib3.exceptions.HTTPError as error:
            reason = getattr(error, "reason", None) or error
            raise ServingError(f"cannot reach {self.target.endpoint}: {_short(reason)}") from error
        except ValueError as error:
            what = f"{response.status} {response.reason}, and no JSON"
            raise ServingError(f"{self.target.endpoint} answers {what}; is it TF Serving?") from error
        if response.status != 200:
            message = found.get("error", "") if isinstance(found, dict) else ""
            raise ServingError(f"{self.target.endpoint} answers {response.status}: {str(message)[:500]}")
        try:
            row = found["predictions"][0]
        except (TypeError, KeyError, IndexError) as error:
            raise ServingError(f"{self.target.endpoint} answers without predictions; is it TF Serving?") from error
        return row if isinstance(row, dict) else {"probabilities": np.asarray(row, np.float32)}

    def close(self) -> None:
        self.pool.clear()


def _short(error) -> str:
    """urllib3 puts its own object in front."""
    return str(error).rpartition(">: ")[2].rpartition("): ")[2][:200]
