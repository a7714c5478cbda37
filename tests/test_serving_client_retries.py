"""What the client asks again: busy servers when they say, and servers that go away before they have answered."""

import json
import socket
import threading
import time
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
import served

from cnn_app.errors import ServingError
from cnn_app.serving import Client, messages_pb2, tensor_proto
from cnn_app.serving.client import RecordError, transport
from cnn_app.serving.client.grpc import PUSHBACK

IMAGE = np.zeros((4, 4, 3), np.uint8)
GOOD = json.dumps({"predictions": [[0.25, 0.75]]})


def http(status, body, *headers):
    lines = [f"HTTP/1.1 {status} told", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


@contextmanager
def scripted(*answers):
    """A server that sends each answer in turn, as bytes, and closes the connection behind "EOF" or resets it at "RST".

    Gives the endpoint and the requests so far.
    """
    asked, todo = [], list(answers)

    def serve():
        while todo:
            try:
                connection = listening.accept()[0]
            except OSError:  # the test is over
                return
            with connection:
                while todo and request(connection):
                    answer = todo.pop(0)
                    if answer == "RST":
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    if isinstance(answer, str):
                        break
                    connection.sendall(answer)

    def request(connection):
        data = b""
        while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < length(data):
            part = connection.recv(2**16)
            if not part:
                return False
            data += part
        asked.append(data)
        return True

    def length(data):
        return int(data.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/m", asked
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def calls(*answers):
    """A gRPC server that refuses with each (code, milliseconds to wait or None) in turn; None is an answer."""
    asked = []

    def predict(request, context):
        answer = answers[len(asked)]
        asked.append(request)
        if answer:
            code, wait_ms = answer
            if wait_ms is not None:
                context.set_trailing_metadata([(PUSHBACK, str(wait_ms))])
            context.abort(grpc.StatusCode[code], "because")
        response = messages_pb2.PredictResponse()
        tensor_proto.fill(response.outputs["probabilities"], np.float32([[0.25, 0.75]]))
        return response

    with served.grpc_server(predict) as address:
        yield address, asked


@pytest.fixture
def waits(monkeypatch):
    """How long the client sleeps; it does not."""
    found = []
    monkeypatch.setattr(transport.time, "sleep", found.append)
    return found


def answer(endpoint):
    with Client(endpoint, timeout=20) as client:
        return client.predict([IMAGE])[0].probabilities.tolist()


@pytest.mark.parametrize("end", ["EOF", "RST"])
def test_a_server_that_goes_away_before_it_has_answered(waits, end):
    with scripted(end, http(200, GOOD)) as (endpoint, asked):
        assert answer(endpoint) == [0.25, 0.75]
        assert len(asked) == 2 and asked[0] == asked[1]
    with scripted(http(200, GOOD), end, http(200, GOOD)) as (endpoint, asked), Client(endpoint, parallel=1) as client:
        assert len(client.predict([IMAGE] * 2)) == 2 and len(asked) == 3  # on a connection that was kept
    with scripted(*[end] * 5) as (endpoint, asked):
        with pytest.raises(ServingError, match="cannot reach .*: ") as failed:
            answer(endpoint)
        assert len(asked) == 5 and "\n" not in str(failed.value)


def test_half_an_answer_is_none(waits):
    with scripted(http(200, GOOD)[:-5] + b"", "EOF", http(200, GOOD)) as (endpoint, asked):
        with Client(endpoint, timeout=0.3) as client, pytest.raises(ServingError, match="(?i)timed out"):
            client.predict([IMAGE])
    assert not waits and len(asked) == 1  # a server that is too slow is not asked for more


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("header", "least"), [("Retry-After: 2", 2), ("Retry-After: 9999", transport.LONGEST_S),
                                               ("Retry-After: soon", 0.1), ("X: y", 0.1)])  # fmt: skip
def test_a_full_server_says_when_to_come_again(waits, status, header, least):
    with scripted(http(status, '{"error": "full"}', header), http(200, GOOD)) as (endpoint, _):
        assert answer(endpoint) == [0.25, 0.75]
    assert len(waits) == 1 and least <= waits[0] <= least + 0.2


def test_a_full_server_that_says_so_in_plain_text(waits):
    with scripted(http(503, "full"), http(200, GOOD)) as (endpoint, _):
        assert answer(endpoint) == [0.25, 0.75]
    with scripted(*[http(429, "full")] * 5) as (endpoint, asked):
        with pytest.raises(ServingError, match="answers 429 told, and no JSON"):
            answer(endpoint)
        assert len(asked) == 5


@pytest.mark.parametrize(("refusal", "least"), [
    (("UNAVAILABLE", None), 0.1), (("CANCELLED", None), 0.1), (("RESOURCE_EXHAUSTED", 1500), 1.5),
    (("UNAVAILABLE", 10**7), transport.LONGEST_S), (("UNAVAILABLE", -1), 0.1),
])  # fmt: skip
def test_calls_that_are_made_again(waits, refusal, least):
    with calls(refusal, None) as (endpoint, asked):
        assert answer(endpoint) == [0.25, 0.75]
        assert asked[0] == asked[1]
    assert len(waits) == 1 and least <= waits[0] <= least + 0.2


def test_a_message_that_is_too_large_is_not_sent_again(waits):
    with calls(("RESOURCE_EXHAUSTED", None), None) as (endpoint, asked):
        with pytest.raises(RecordError, match="RESOURCE_EXHAUSTED"):
            answer(endpoint)
    assert len(asked) == 1 and not waits


def test_waiting_grows_and_ends(waits):
    with calls(*[("UNAVAILABLE", None)] * 5) as (endpoint, asked):
        with pytest.raises(ServingError, match="UNAVAILABLE: because"):
            answer(endpoint)
    assert len(asked) == 5 and len(waits) == transport.RETRIES
    assert all(0.1 * 2**i <= wait <= 0.2 * 2**i for i, wait in enumerate(waits))


def test_a_call_is_made_again_after_the_server_has_gone():
    """A server that ends cancels what runs; another on its port answers."""
    with calls(None) as (endpoint, _), Client(endpoint, timeout=20) as client:
        assert client.predict([IMAGE])
        start = time.monotonic()
    with pytest.raises(ServingError, match="UNAVAILABLE|CANCELLED"), Client(endpoint, timeout=20) as client:
        client.predict([IMAGE])
    assert time.monotonic() - start > sum(0.1 * 2**i for i in range(transport.RETRIES))
