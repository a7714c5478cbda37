"""A server that is told to stop says so to those who would ask again; and whose pages may ask."""

import http.client
import json
import socket
import threading
from contextlib import ExitStack, closing

import pytest
import served
import urllib3
from load import GOAWAY, PREFACE, SETTINGS, frame

from cnn_app.errors import ServingError
from cnn_app.serving import Client
from cnn_app.serving.server.batching import Batching

IMAGE = served.one_colour("red")
PREDICT = "/v1/models/colours:predict"
BODY = json.dumps({"instances": [IMAGE.tolist()]})


class Stopping:
    """A server that can be told to stop while one asks it."""

    def __init__(self, colours, **changes):
        self.stack = ExitStack()
        self.found = self.stack.enter_context(served.running(colours, **changes))
        self.rest, self.grpc = (where.split("://")[1] for where in (self.found.rest, self.found.grpc))
        self.thread = threading.Thread(target=self.stack.close)

    def stop(self):
        """Until it takes no new connection."""
        self.thread.start()
        host, port = self.rest.split(":")
        while True:
            try:
                socket.create_connection((host, int(port)), 10).close()
            except ConnectionRefusedError:
                return
            except ConnectionResetError:  # it was waiting when nobody listened any more
                continue

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.thread.ident is None:  # it never started
            self.thread.start()
        self.thread.join()


def test_an_idle_connection_is_told_with_its_last_answer(colours):
    with Stopping(colours) as server, closing(http.client.HTTPConnection(server.rest, timeout=30)) as connection:
        for _ in range(2):
            connection.request("POST", PREDICT, BODY)
            answer = connection.getresponse()
            assert answer.status == 200 and answer.read() and not answer.will_close
        server.stop()
        connection.request("POST", PREDICT, BODY)
        answer = connection.getresponse()
        assert answer.status == 200 and answer.getheader("connection") == "close"
        assert json.loads(answer.read())["predictions"]


def test_a_request_under_way_is_answered_and_told(colours):
    with (
        Stopping(colours, batching=Batching(delay_s=1)) as server,
        closing(http.client.HTTPConnection(server.rest, timeout=30)) as connection,
        urllib3.PoolManager() as pool,
    ):
        body = json.dumps({"instances": [IMAGE.tolist()] * 2})
        connection.request("POST", PREDICT, body)
        metrics = f"{server.found.rest}/monitoring/prometheus/metrics"
        while b"cnn_app_running_requests 1.0" not in pool.request("GET", metrics).data:
            pass
        server.stop()
        answer = connection.getresponse()
        assert answer.status == 200 and answer.getheader("connection") == "close"


def test_a_grpc_connection_gets_a_goaway(colours):
    with Stopping(colours) as server:
        host, port = server.grpc.split(":")
        with socket.create_connection((host, int(port)), 30) as connection, connection.makefile("rb") as stream:
            connection.sendall(PREFACE + frame(SETTINGS, 0, 0, b""))
            skip_frame(stream)  # its settings
            server.stop()
            while skip_frame(stream) != GOAWAY:  # which raises where the connection ends without one
                pass


def skip_frame(stream):
    """The kind of the next frame."""
    head = stream.read(9)
    stream.read(int.from_bytes(head[:3]))
    return head[3]


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nothing_fails_until_nobody_listens(colours, scheme):
    """Clients that ask all the time see answers, and in the end that there is no server any more."""
    failed, answered = [], threading.Semaphore(0)

    def ask(endpoint):
        with Client(endpoint, timeout=20, parallel=4) as client:
            try:
                while True:
                    client.predict([IMAGE] * 4)
                    answered.release()
            except ServingError as error:
                failed.append(str(error))

    with Stopping(colours) as server:
        endpoint = f"{scheme}://{server.rest if scheme == 'http' else server.grpc}/colours"
        threads = [threading.Thread(target=ask, args=(endpoint,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            answered.acquire()
        server.stop()
        for thread in threads:
            thread.join()
    assert len(failed) == 4 and all("refused" in error for error in failed), failed


ELSEWHERE = "https://elsewhere.example"


def posted(address, origin, method="POST", **headers):
    with urllib3.PoolManager(retries=False, timeout=30) as pool:
        return pool.request(method, address + PREDICT, body=BODY, headers={"Origin": origin, **headers})


@pytest.mark.parametrize("origin", [ELSEWHERE, "null", "http://127.0.0.1:1", "http://127.0.0.1", "http://localhost.x"])
def test_pages_of_others_may_not_post(addresses, origin):
    refused = posted(addresses.rest, origin)
    assert refused.status == 403 and list(json.loads(refused.data)) == ["error"]
    assert "access-control-allow-origin" not in refused.headers
    assert "access-control-allow-origin" not in posted(addresses.rest, origin, "OPTIONS").headers
    with urllib3.PoolManager() as pool:
        seen = pool.request("GET", f"{addresses.rest}/v1/models/colours", headers={"Origin": origin})
        assert "access-control-allow-origin" not in seen.headers


def test_our_page_may_post(addresses):
    assert posted(addresses.rest, addresses.rest).status == 200


@pytest.mark.slow
def test_pages_that_are_named_may_post(colours):
    with served.running(colours, origins=(ELSEWHERE,)) as found:
        answer = posted(found.rest, ELSEWHERE)
        assert answer.status == 200 and answer.headers["access-control-allow-origin"] == ELSEWHERE
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        first = posted(found.rest, ELSEWHERE, "OPTIONS", **asked)
        assert first.status < 300 and first.headers["access-control-allow-origin"] == ELSEWHERE
        assert posted(found.rest, found.rest).status == 200
        assert posted(found.rest, f"{ELSEWHERE}.org").status == 403
        assert posted(found.rest, "null").status == 403


@pytest.mark.slow
def test_a_browser_asks_without_the_key_whether_it_may_send_it(colours):
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    with served.running(colours, origins=(ELSEWHERE,), key="secret") as found:
        assert posted(found.rest, ELSEWHERE, "OPTIONS", **asked).status == 200
        refused = posted(found.rest, ELSEWHERE)
        assert refused.status == 401 and refused.headers["access-control-allow-origin"] == ELSEWHERE
        assert posted(found.rest, ELSEWHERE, Authorization="Bearer secret").status == 200
