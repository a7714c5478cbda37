"""What the most costly requests cost a server in memory, one at a time; and all others are answered among many.

How long they wait is measured by benchmarks/storm.py.
"""

import http.client
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import attacker
import pytest
import worst
from server import Server

pytestmark = pytest.mark.slow
MOST_BYTES = 256 * 2**20  # above what the server has before
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
    process, _ = server
    connection = http.client.HTTPConnection(process.rest, timeout=60)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as elsewhere:
        storm = elsewhere.submit(attacker.storm, {"rest": process.rest, "grpc": process.grpc}, 10, 20)
        while not storm.done():
            connection.request("GET", "/healthz")
            assert connection.getresponse().read() == b'{"status":"ready"}'
    connection.close()
    kinds = storm.result()
    assert set(kinds) <= {"ok", "refused", "busy"} and sum(kinds.values()) > 20, kinds
    assert "Traceback" not in process.log()
