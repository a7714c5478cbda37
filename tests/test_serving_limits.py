"""What the server takes at most: bytes, time, pixels."""

import socket
from contextlib import closing

import pytest
import served
import urllib3

from cnn_app.cli.serve import serve
from cnn_app.errors import DataError
from cnn_app.inputs import by_encoded, headers
from cnn_app.names import IMAGE_BYTES
from cnn_app.serving.server.batching import Batching
from cnn_app.serving.server.service import Limits

IMAGE = served.pixels(0)[0].tolist()
COLOURS = "/v1/models/colours"


def test_an_image_may_be_as_large_as_without_a_server():
    most = Limits().pixels
    assert most == headers.MAX_PIXELS
    assert {option.name: option.default for option in serve.params}["max_pixels"] * 10**6 == most
    kind = by_encoded(IMAGE_BYTES)
    assert kind.decoded_bytes(served.bomb(7900), most) == 7900 * 7900 * 3
    with pytest.raises(DataError, match="it has 8100x8100 pixels; more than 64,000,000 are refused"):
        kind.decoded_bytes(served.bomb(8100), most)


@pytest.mark.slow
def test_limits_of_body_and_time(colours):
    limits = Limits(body_bytes=50_000, read_s=0.3, answer_s=0.3, pixels=1000)
    with (
        served.running(colours, limits=limits, batching=Batching(delay_s=60)) as found,
        urllib3.PoolManager(retries=False, timeout=30) as http,
    ):
        url = f"{found.rest}{COLOURS}:predict"
        host, port = found.rest.removeprefix("http://").split(":")

        def raw(data):
            """What the server sends until it closes the connection."""
            with closing(socket.create_connection((host, int(port)), 10)) as sent:
                sent.sendall(data)
                return b"".join(iter(lambda: sent.recv(4096), b"")).decode()

        head = f"POST {COLOURS}:predict HTTP/1.1\r\nHost: localhost\r\n"
        assert raw(f"{head}Content-Length: {2**30}\r\n\r\n{{".encode()).startswith("HTTP/1.1 413")
        assert raw(f"{head}Content-Length: 100\r\n\r\n{{".encode()).startswith("HTTP/1.1 408")
        assert raw(b"GET / HTTP/1.1\r\nHost: he") == ""  # a slow head gets no answer, and no place
        assert raw(b"no HTTP at all\r\n\r\n").startswith("HTTP/1.1 400")
        status, answer = served.asked(http, "POST", url, iter([b" " * 30_000] * 2), {"Transfer-Encoding": "chunked"})
        assert status == 413 and "more than the 50,000 bytes" in answer["error"]
        assert served.asked(http, "POST", url, {"instances": [IMAGE]}) == (
            504,
            {"error": "no answer within 0.3 seconds"},
        )
        image = served.b64(served.png(served.one_colour("red", 64)))
        status, answer = served.asked(http, "POST", url, {"signature_name": "image_bytes", "instances": [image]})
        assert status == 400 and "64x64 pixels; more than 1,000 are refused" in answer["error"]
        assert served.asked(http, "GET", f"{found.rest}{COLOURS}")[0] == 200
