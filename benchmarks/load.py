"""Load that costs little: clients with a connection each and one request under way, on one event loop.

Requests are encoded before the load and answers read after it, so that the server is measured and not this.
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from dataclasses import dataclass, field

import numpy as np

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK = END_STREAM = 1
END_HEADERS = 4
FRAME, WINDOW, LARGEST = 2**14, 2**16 - 1, 2**31 - 1  # of HTTP/2, where nobody says otherwise
PATH = "/tensorflow.serving.PredictionService/Predict"


@dataclass
class Turn:
    """What came of a load."""

    seconds: list[float] = field(default_factory=list)  # of each answer
    errors: list[str] = field(default_factory=list)
    wrong: int = 0
    busy_s: float = 0
    cpu_s: float = 0  # of the clients

    def add(self, other: Turn) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass
class Load:
    """`requests` are asked for in a circle, by each client from another place on."""

    requests: list
    end: float
    seconds: list[float] = field(default_factory=list)
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class Client(asyncio.Protocol):
    """A connection; `send` writes a request, `answered` is to be called with what came back."""

    def __init__(self, load: Load, number: int):
        self.load, self.number, self.received = load, number % len(load.requests), bytearray()
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport) -> None:
        self.transport = transport

    def connection_lost(self, error) -> None:
        if not self.done.done():
            self.failed(f"the connection is closed: {error}")

    def ask(self) -> None:
        self.start = time.perf_counter()
        self.send(self.load.requests[self.number])

    def answered(self, answer: bytes) -> None:
        now = time.perf_counter()
        self.load.seconds.append(now - self.start)
        self.load.answers.append((self.number, answer))
        self.number = (self.number + 7) % len(self.load.requests)
        if now < self.load.end:
            self.ask()
        else:
            self.close()

    def failed(self, why: str) -> None:
        """A client whose request fails stays away for the rest of the turn."""
        self.load.errors.append(why[:200])
        self.close()

    def close(self) -> None:
        self.transport.close()
        if not self.done.done():
            self.done.set_result(None)


class RestClient(Client):
    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self.ask()

    def send(self, request: bytes) -> None:
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, rest = self.received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(rest) == length:
            self.received = bytearray()
            self.answered(bytes(rest)) if head[9:12] == b"200" else self.failed(rest.decode())


class GrpcClient(Client):
    """HTTP/2 as far as unary calls need it. No header is decoded: a call without a message has failed."""

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self.stream, self.window, self.message, self.held = -1, WINDOW, bytearray(), None
        settings = struct.pack(">HI", 4, LARGEST)  # windows that no answer fills
        self.transport.write(PREFACE + frame(SETTINGS, 0, 0, settings)
                             + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", LARGEST - WINDOW)))  # fmt: skip

    def send(self, request: tuple[bytes, list[int], int]) -> None:
        if self.window < request[2]:
            self.held = request  # until the server opens its window
            return
        frames, places, size = bytearray(request[0]), request[1], request[2]
        self.stream += 2
        self.window -= size
        for place in places:
            struct.pack_into(">I", frames, place, self.stream)
        self.transport.write(frames)

    def data_received(self, data: bytes) -> None:
        self.received += data
        start, there = 0, self.received
        while len(there) - start >= 9:
            length, kind, flags = int.from_bytes(there[start : start + 3]), there[start + 3], there[start + 4]
            if len(there) - start - 9 < length:
                break
            stream = int.from_bytes(there[start + 5 : start + 9])
            payload = bytes(there[start + 9 : start + 9 + length])
            start += 9 + length
            self.framed(kind, flags, stream, payload)
        del there[:start]

    def framed(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            self.message += payload
        elif kind == SETTINGS and not flags & ACK:
            self.transport.write(frame(SETTINGS, ACK, 0, b""))
            if self.stream < 0 and self.held is None:
                self.ask()
        elif kind == PING and not flags & ACK:
            self.transport.write(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE and not stream:
            self.window += int.from_bytes(payload)
            if self.held and self.window >= self.held[2]:
                held, self.held = self.held, None
                self.send(held)
        elif kind in (RST_STREAM, GOAWAY):
            self.failed(f"frame {kind}: {payload!r}")
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            message, self.message = bytes(self.message[5:]), bytearray()  # behind its length
            self.answered(message) if message else self.failed(f"a call without an answer: {payload!r}")


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def call(message: bytes, address: str) -> tuple[bytes, list[int], int]:
    """The frames of a call, where their stream's number goes, and what the call takes of the window."""
    text = {1: address, 4: PATH, 31: "application/grpc"}  # by number in HPACK's static table
    headers = b"\x83\x86" + b"".join(  # POST, http; then literals that no table remembers
        (bytes([key]) if key < 15 else bytes([15, key - 15])) + bytes([len(value)]) + value.encode()
        for key, value in text.items()
    ) + b"\x00\x02te\x08trailers"  # fmt: skip
    data = b"\0" + len(message).to_bytes(4) + message
    assert len(data) <= WINDOW, "a stream's window would have to be watched"
    parts = [data[start : start + FRAME] for start in range(0, len(data), FRAME)]
    frames = [frame(HEADERS, END_HEADERS, 0, headers)]
    frames += [frame(DATA, END_STREAM if part is parts[-1] else 0, 0, part) for part in parts]
    ends = np.cumsum([0, *map(len, frames)])
    return b"".join(frames), [int(end) + 5 for end in ends[:-1]], len(data)


def post(body: bytes, address: str, path: str) -> bytes:
    """A keep-alive request."""
    return f"POST /{path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def of_grpc(answer: bytes) -> np.ndarray:
    from cnn_app.serving import messages_pb2, tensor_proto

    return tensor_proto.array(messages_pb2.PredictResponse.FromString(answer).outputs["probabilities"])[0]


def of_rest(answer: bytes) -> np.ndarray:
    row = json.loads(answer)["predictions"][0]
    return np.array(row["probabilities"] if isinstance(row, dict) else row)


def run(api: str, address: str, requests: list, truth: np.ndarray, most: float, clients: int, seconds: float) -> Turn:
    """Of `clients` for `seconds`; an answer that is more than `most` away from the truth is wrong."""
    client, read = {"grpc": (GrpcClient, of_grpc), "rest": (RestClient, of_rest)}[api]
    host, _, port = address.rpartition(":")

    async def all_clients() -> Load:
        loop = asyncio.get_running_loop()
        load = Load(requests, time.perf_counter() + seconds)
        made = [
            await loop.create_connection(lambda number=number: client(load, number), host, int(port))
            for number in range(clients)
        ]
        await asyncio.gather(*(protocol.done for _, protocol in made))
        return load

    start, used = time.perf_counter(), time.process_time()
    load = asyncio.run(all_clients())
    busy, cpu = time.perf_counter() - start, time.process_time() - used
    wrong = sum(np.abs(read(answer) - truth[number]).max() > most for number, answer in load.answers)
    return Turn(load.seconds, load.errors, int(wrong), busy, cpu)
