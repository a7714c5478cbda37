"""Fixtures of the tests of delivery."""

import functools
import threading
from http.server import ThreadingHTTPServer

import pytest
from publishing import Loopback, Publisher


@pytest.fixture
def publisher(tmp_path):
    return Publisher(tmp_path).create()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server(publisher):
    """(address, settings) of the publisher's catalogue; settings["requests"] lists what was asked for."""
    handler = functools.partial(Loopback, directory=str(publisher.path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        http.settings = {"requests": []}
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", http.settings
        http.shutdown()
        thread.join()
