"""What the most costly requests cost a server: memory, one at a time, and others their time, many at a time."""

import http.client
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

import attacker
import pytest
import worst
from server import Server

pytestmark = pytest.mark.slow
MOST_BYTES = 256 * 2**20  # above what the server has before
MOST_S = 0.1  # that others wait
REQUESTS = [(api, name) for api, make in worst.APIS.items() for name in make()]


@pytest.fixture(scope="module")
def server(toy_store):
    """The process, and what it takes once it has answered."""
    with Server(toy_store) as found:
        for api, connect in attacker.APIS.items():
            ask = connect(getattr(found, api))
            ask.ask(*(("GET", "/healthz", b"") if api == "rest" else ("GetModelStatus", b"\x0a\x08\x0a\x06pixels")))
            ask.close()
        yield found, found.rss()


@pytest.mark.parametrize(("api", "name"), REQUESTS)
def test_memory(server, api, name):
    process, _ = server
    before = process.rss()  # what one has left behind is not the next one's fault
    process.forget_peak()
    asker = attacker.APIS[api](getattr(process, api), timeout_s=60)
    found = asker.ask(*worst.APIS[api]()[name]())
    asker.close()
    assert process.alive() and process.peak() - before < MOST_BYTES, f"{(process.peak() - before) >> 20} MiB"
    assert not found.wrong, found.wrong


def test_others_while_many_of_them_are_asked(server):
    process, before = server
    process.forget_peak()
    waits, connection = [], http.client.HTTPConnection(process.rest, timeout=60)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as elsewhere:
        storm = elsewhere.submit(attacker.storm, {"rest": process.rest, "grpc": process.grpc}, 20, 20)
        while not storm.done():
            start = time.perf_counter()
            connection.request("GET", "/healthz")
            assert connection.getresponse().read() == b'{"status":"ready"}'
            waits.append(time.perf_counter() - start)
            time.sleep(0.01)  # the poll is not to be the load
    connection.close()
    kinds = storm.result()
    assert set(kinds) <= {"ok", "refused", "busy"} and sum(kinds.values()) > 20, kinds
    assert process.peak() - before < MOST_BYTES, f"{(process.peak() - before) >> 20} MiB"
    assert max(waits) < MOST_S, f"{max(waits) * 1e3:.0f} ms"
