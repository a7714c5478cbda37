"""The client: REST and gRPC, order, what is tried again and what is not, keys and TLS, and no TensorFlow."""

import datetime
import ipaddress
import json
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import pytest
import served
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cnn_app.cli.main import cli
from cnn_app.errors import ServingError
from cnn_app.serving import Client, messages_pb2, tensor_proto

KEY = "a key of the tests"
SCHEMES = ("http", "grpc")


def test_many_images_in_parallel_keep_their_order(endpoint):
    pixels = served.pixels(7, 100)
    images = [served.png(one) if i % 2 else one for i, one in enumerate(pixels)]
    with Client(endpoint, parallel=16) as client:
        answers = client.predict(iter(images))
    np.testing.assert_allclose([one.probabilities for one in answers], served.probabilities(pixels), rtol=1e-5)
    best = np.argsort(-served.probabilities(pixels), 1)
    assert [one.top(1)[0]["label"] for one in answers[1::2]] == [served.LABELS[i] for i in best[1::2, 0]]
    assert [one.top(1)[0]["label"] for one in answers[::2]] == [str(i) for i in best[::2, 0]]


def test_answers_come_one_by_one_and_an_error_ends_them(endpoint):
    good = served.png(served.one_colour("red"))
    with Client(f"{endpoint}/labels/stable", parallel=1) as client:
        answers = client.answers([good, b"no image", good])
        assert next(answers).labels[0] == "red"
        with pytest.raises(ServingError, match="(400|INVALID_ARGUMENT): cannot read the record: it is no JPEG"):
            next(answers)


@pytest.mark.parametrize(("place", "message"), [
    ("none", "(404|NOT_FOUND).*models here: colours"), ("colours/versions/9", "(404|NOT_FOUND).*versions: 1, 2"),
    ("colours/labels/none", "(400|INVALID_ARGUMENT).*Unrecognized servable version label"),
])  # fmt: skip
def test_a_model_that_is_not_there(endpoint, place, message):
    with Client(f"{endpoint.rpartition('/')[0]}/{place}") as client, pytest.raises(ServingError, match=message):
        client.predict([served.one_colour("red")])


@pytest.mark.parametrize(("endpoint", "message"), [
    ("ftp://there/model", "is no endpoint; write http://HOST:PORT/NAME"), ("model", "is no endpoint"),
    ("http://there:8501", "names no model; write http://there:8501/NAME"), ("http://there:x/model", "is no address"),
    ("http://there/model", "would carry the key in the open; write https://"),
])  # fmt: skip
def test_addresses_that_cannot_be_meant(endpoint, message):
    with pytest.raises(ServingError, match=message):
        Client(endpoint, api_key=KEY)


@contextmanager
def busy_http(*statuses):
    """Answers with each status in turn; the number of requests so far is in the list."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            status = statuses[len(asked)]
            asked.append(self.path)
            body = b'{"predictions": [[0.25, 0.75]]}' if status == 200 else b'{"error": "because"}'
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words): ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1/models/m", asked
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def busy_grpc(*codes):
    asked: list[str] = []

    def predict(request, context):
        code = codes[len(asked)]
        asked.append(code)
        if code != "OK":
            context.abort(grpc.StatusCode[code], "because")
        response = messages_pb2.PredictResponse()
        tensor_proto.fill(response.outputs["probabilities"], np.float32([[0.25, 0.75]]))
        return response

    with served.grpc_server(predict) as address:
        yield address, asked


@pytest.mark.parametrize(("server", "again", "done", "never"), [
    (busy_http, 503, 200, [400, 401, 404, 413, 500, 504]),
    (busy_grpc, "UNAVAILABLE", "OK", ["INVALID_ARGUMENT", "NOT_FOUND", "INTERNAL", "RESOURCE_EXHAUSTED"]),
], ids=SCHEMES)  # fmt: skip
def test_only_busy_servers_are_asked_again(server, again, done, never):
    image = served.one_colour("red")
    with server(again, again, done) as (endpoint, asked), Client(endpoint) as client:
        assert client.predict([image])[0].top() == [
            {"label": "1", "probability": 0.75}, {"label": "0", "probability": 0.25}]  # fmt: skip
        assert len(asked) == 3
    with server(*[again] * 5) as (endpoint, asked), Client(endpoint) as client:
        with pytest.raises(ServingError, match=f"answers {again}: because"):
            client.predict([image])
        assert len(asked) == 5
    with server(*never) as (endpoint, asked), Client(endpoint) as client:
        for count, code in enumerate(never, 1):
            with pytest.raises(ServingError, match=f"answers {code}: because"):
                client.predict([image])
            assert len(asked) == count


def test_nobody_listens(endpoint):
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        gone = f"{endpoint.partition(':')[0]}://127.0.0.1:{taken.getsockname()[1]}/colours"
        with Client(gone, timeout=5) as client, pytest.raises(ServingError, match="refused") as error:
            list(client.each([served.one_colour("red")]))
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    folder, key = tmp_path_factory.mktemp("tls"), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now, hosts = datetime.datetime.now(datetime.UTC), [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    cert = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(hosts), False)
        .add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256())
    )  # fmt: skip
    plain = serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.slow
def test_key_and_tls(colours, tls):
    cert, _ = tls
    image = served.one_colour("green")
    with served.running(colours, key=KEY, tls=tls) as found:
        for address in (found.rest, found.grpc):
            assert address.startswith(("https://", "grpcs://"))
            with Client(f"{address}/colours", KEY, ca=cert) as client:
                assert client.predict([image])[0].probabilities.argmax() == 1
            for wrong in (None, KEY[:-1], KEY + "x", ""):
                with Client(f"{address}/colours", wrong, ca=cert) as client:
                    with pytest.raises(ServingError, match="(401|UNAUTHENTICATED): a key is needed"):
                        client.predict([image])
            with Client(f"{address}/colours", KEY, timeout=3) as client:  # who vouches for it?
                with pytest.raises(ServingError, match="(?i)certificate|failed to connect"):
                    client.predict([image])


def test_an_open_server_needs_key_and_tls(tls):
    for given in ({}, {"key": KEY}, {"tls": tls}):
        with pytest.raises(ServingError, match="--host 0.0.0.0 can be reached by others, so it needs --api-key-file"):
            replace(served.SETTINGS, host="0.0.0.0", **given)
    assert replace(served.SETTINGS, host="0.0.0.0", key=KEY, tls=tls).key == KEY


CODE = """
import sys
from cnn_app.cli.main import cli
cli(["predict", "--json", *sys.argv[1:]], standalone_mode=False)
assert not {"tensorflow", "keras", "starlette"} & set(sys.modules), "too much is imported"
"""


def test_predict_asks_an_endpoint_without_tensorflow(endpoint, tmp_path):
    for label in served.LABELS:
        (tmp_path / f"{label}.png").write_bytes(served.png(served.one_colour(label, 20)))
    arguments = ["--endpoint", endpoint, str(tmp_path), str(tmp_path / "red.png")]
    done = subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    names = [f"{label}.png" for label in (*sorted(served.LABELS), "red")]
    assert [row["image"] for row in answers] == [str(tmp_path / name) for name in names]
    assert [row["top"][0]["label"] + ".png" for row in answers] == names
    printed = CliRunner().invoke(cli, ["predict", *arguments, "--top", "1"]).stdout
    assert printed.splitlines()[0] == f"{tmp_path / 'blue.png'}: blue 0.964"
