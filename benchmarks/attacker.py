"""Asks a server of `toys` what the grammars make up or `worst` has, and says what is wrong with an answer."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import threading
import time
from collections import Counter
from random import Random
from typing import NamedTuple

import grpc
import grpc_grammar
import rest_grammar
import worst

HANG_S = 10  # an answer that takes longer is none
SERVICES = {"GetModelStatus": "ModelService"}  # of methods that PredictionService lacks
BUSY = ("429", "503", "RESOURCE_EXHAUSTED", "UNAVAILABLE")


class Found(NamedTuple):
    kind: str  # "ok", "refused", "busy", "other" or "hang"
    wrong: str  # "" where the answer is as it should be
    asked: tuple


class Rest:
    """Over one connection, which the server may close and nobody else."""

    def __init__(self, address: str, timeout_s: float = HANG_S):
        self.connection = http.client.HTTPConnection(address, timeout=timeout_s)

    def __call__(self, random: Random) -> Found:
        return self.ask(*rest_grammar.post(random))

    def ask(self, method: str, path: str, body: bytes) -> Found:
        asked = (method, path, body)
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before it was read
                self.connection.request(method, path, body, {"Content-Type": "application/json"})
            response = self.connection.getresponse()
            text = response.read()
        except TimeoutError:
            self.connection.close()
            return Found("hang", f"no answer within {self.connection.timeout} seconds", asked)
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            return Found("other", f"no answer: {error!r}", asked)
        wrong = rest_grammar.wrong(response.status, text)
        return Found(_kind(str(response.status), "200", wrong), wrong, asked)

    def close(self) -> None:
        self.connection.close()


class Grpc:
    def __init__(self, address: str, timeout_s: float = HANG_S):
        self.timeout_s = timeout_s
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
            self.calls[method](message, timeout=self.timeout_s)
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


def storm(addresses: dict[str, str], seconds: float, threads: int) -> Counter:
    """Kinds of answers to the worst requests, or what is wrong with them; to be run in a process of its own.

    addresses: HOST:PORT by API.
    """
    made = [(api, name, ask()) for api in addresses for name, ask in worst.APIS[api]().items()]
    turns, counts, end = itertools.cycle(made), Counter(), time.monotonic() + seconds

    def attack() -> None:
        askers = {api: APIS[api](address, 60) for api, address in addresses.items()}
        while time.monotonic() < end:
            api, name, asked = next(turns)
            found = askers[api].ask(*asked)
            counts[f"{api}, {name}: {found.wrong}" if found.wrong else found.kind] += 1
        for asker in askers.values():
            asker.close()

    running = [threading.Thread(target=attack) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return counts
