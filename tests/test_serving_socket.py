"""REST on a UNIX socket, for a side-car."""

import http.client
import json
import socket
import stat

import pytest
import served

from cnn_app.errors import ServingError

STATUS = "/v1/models/colours"


class Connection(http.client.HTTPConnection):
    """To a file in the place of a port."""

    def __init__(self, place):
        super().__init__("localhost")
        self.place = place

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.place))


def status(place):
    connection = Connection(place)
    connection.request("GET", STATUS)
    with connection.getresponse() as response:
        found = response.status, json.loads(response.read())
    connection.close()
    return found


def test_rest_answers_on_a_file_that_goes_with_the_server(colours, tmp_path):
    place = tmp_path / "rest"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(place))
    left.close()  # as a server that was killed leaves it
    with served.running(colours, socket=place, grpc_port=None) as addresses:
        assert addresses.rest == f"unix:{place}"
        assert stat.S_IMODE(place.stat().st_mode) == 0o660
        code, told = status(place)
        assert code == 200 and told["model_version_status"][0]["state"] == "AVAILABLE"
        with pytest.raises(ServingError, match=f"cannot serve on {place}: .*; choose another --socket"):
            with served.running(colours, socket=place, grpc_port=None):
                pass
        assert status(place)[0] == 200
    assert not place.exists()


def test_a_file_is_not_written_over(colours, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ServingError, match="cannot serve on .*file: .*; choose another --socket"):
        with served.running(colours, socket=tmp_path / "file", grpc_port=None):
            pass
    assert (tmp_path / "file").read_text() == "mine"
