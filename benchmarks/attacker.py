"""Asks a server of `toys` what the grammars make up, and says what is wrong with an answer."""

from __future__ import annotations

import http.client
from random import Random
from typing import NamedTuple

import grpc
import grpc_grammar
import rest_grammar

HANG_S = 10  # an answer that takes longer is none
SERVICES = {"GetModelStatus": "ModelService"}  # of methods that PredictionService lacks
BUSY = ("429", "503", "RESOURCE_EXHAUSTED", "UNAVAILABLE")


class Found(NamedTuple):
    kind: str  # "ok", "refused", "busy", "other" or "hang"
    wrong: str  # "" where the answer is as it should be
    asked: tuple


class Rest:
    """Over one connection, which the server may close and nobody else."""

    def __init__(self, address: str):
        self.connection = http.client.HTTPConnection(address, timeout=HANG_S)

    def __call__(self, random: Random) -> Found:
        return self.ask(*rest_grammar.post(random))

    def ask(self, method: str, path: str, body: bytes) -> Found:
        asked = (method, path, body)
        try:
            self.connection.request(method, path, body, {"Content-Type": "application/json"})
            response = self.connection.getresponse()
            text = response.read()
        except TimeoutError:
            self.connection.close()
            return Found("hang", f"no answer within {HANG_S} seconds", asked)
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            return Found("other", f"no answer: {error!r}", asked)
        wrong = rest_grammar.wrong(response.status, text)
        return Found(_kind(str(response.status), "200", wrong), wrong, asked)

    def close(self) -> None:
        self.connection.close()


class Grpc:
    def __init__(self, address: str):
        self.channel = grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        self.calls = {
            name: self.channel.unary_unary(f"/tensorflow.serving.{SERVICES.get(name, 'PredictionService')}/{name}")
            for name in grpc_grammar.MESSAGES
        }  # bytes in, bytes out

    def __call__(self, random: Random) -> Found:
        return self.ask(*grpc_grammar.call(random))

    def ask(self, method: str, message: bytes) -> Found:
        code, details = "OK", ""
        try:
            self.calls[method](message, timeout=HANG_S)
        except grpc.RpcError as error:
            code, details = error.code().name, error.details()
        wrong = grpc_grammar.wrong(code, details)
        kind = "hang" if code == "DEADLINE_EXCEEDED" else _kind(code, "OK", wrong)
        return Found(kind, wrong, (method, message))

    def close(self) -> None:
        self.channel.close()


def _kind(code: str, good: str, wrong: str) -> str:
    return "other" if wrong else "ok" if code == good else "busy" if code in BUSY else "refused"


APIS = {"rest": Rest, "grpc": Grpc}
