"""What broke the server once, one by one."""

import http.client
import json

import grpc
import numpy as np
import pytest
import served
import tensorflow as tf
import urllib3
from tensorflow_serving.apis import classification_pb2, predict_pb2

from cnn_app.serving import messages_pb2 as messages
from cnn_app.serving.server import json_child, wire
from cnn_app.serving.server.service import Limits

PREDICT = "/v1/models/pixels:predict"


@pytest.fixture(scope="module")
def rest(toy_server):
    """(status, JSON) of a body that is sent to a path; afterwards the server must answer."""
    with urllib3.PoolManager(retries=False, timeout=60) as pool:

        def ask(body, path=PREDICT, **headers):
            response = pool.request("POST", toy_server.rest + path, body=body, headers=headers)
            assert pool.request("GET", f"{toy_server.rest}/healthz").status == 200
            return response.status, json.loads(response.data)

        yield ask


@pytest.fixture(scope="module")
def call(toy_server):
    """(code, details) of bytes that are sent to a method of PredictionService."""
    with grpc.insecure_channel(toy_server.grpc.removeprefix("grpc://")) as channel:

        def ask(method, data):
            try:
                channel.unary_unary(f"/tensorflow.serving.PredictionService/{method}")(data, timeout=60)
            except grpc.RpcError as error:
                return error.code().name, error.details()
            return "OK", ""

        yield ask


def nested(depth, inner="1"):
    return "[" * depth + inner + "]" * depth


@pytest.mark.parametrize(("body", "message"), [
    ('{"signature_name": "image_bytes", "instances": ' + nested(900, '"a"') + "}", "nested more than 32 deep"),
    ('{"instances": ' + nested(900) + "}", "at incorrect level"),
    ('{"instances": ' + nested(10**5) + "}", "JSON Parse error"),
    (r'{"signature_name": "\ud800", "instances": [1]}', r'"\ud800" not found in signature def'),
    (r'{"\ud800": 1}', r"the request has \ud800"),
    (r'{"instances": [{"\ud800": 1}]}', "keys must be equal to"),
    (b'{"instances": ["\xff"]}', "JSON Parse error"),
    ('{"signature_name": "image_bytes", "instances": [{"b64": "iVBORw0KGgo="}]}', "no JPEG, PNG, WebP, BMP or GIF"),
])  # fmt: skip
def test_json_that_gave_tracebacks(rest, body, message):
    status, found = rest(body)
    assert status == 400 and message in found["error"] and "\n" not in found["error"]


def test_a_cut_off_image_is_told_without_tensorflows_words(rest):
    image = served.png(served.one_colour("red", 64))
    body = json.dumps({"signature_name": "image_bytes", "instances": [served.b64(image[:-40])]})
    status, found = rest(body)
    assert status == 400 and "Graph execution error" not in found["error"]


def test_large_json_gives_what_small_json_gives(rest):
    pixels = served.pixels(0, 64)
    body = json.dumps({"instances": pixels.tolist()})
    assert json_child.is_heavy(body.encode())
    one_by_one = [rest(json.dumps({"instances": [one.tolist()]}))[1]["predictions"][0] for one in pixels[:3]]
    status, found = rest(body)
    assert status == 200 and len(found["predictions"]) == 64
    np.testing.assert_allclose(found["predictions"][0], one_by_one[0], rtol=1e-6)
    images = [served.b64(served.png(served.one_colour("red")) + bytes(2**13)) for _ in range(40)]
    body = json.dumps({"signature_name": "image_bytes", "instances": images})
    assert json_child.is_heavy(body.encode())
    status, found = rest(body)
    assert status == 200 and len(found["predictions"]) == 40


def test_a_context_is_not_multiplied_before_it_is_looked_at(call, rest):
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "examples", "of_examples"
    listed = request.input.example_list_with_context
    listed.context.features.feature["x"].bytes_list.value.append(bytes(2**20))
    for _ in range(3000):
        listed.examples.add()
    code, message = call("Classify", request.SerializeToString())
    assert code == "INVALID_ARGUMENT" and "the request has 3,000 rows" in message
    del listed.examples[200:]
    code, message = call("Classify", request.SerializeToString())
    assert code == "INVALID_ARGUMENT" and "each with a context of" in message and "--max-body" in message
    request.model_spec.name = "none"
    assert call("Classify", request.SerializeToString())[0] == "NOT_FOUND"
    body = json.dumps({"signature_name": "of_examples", "context": {"x": "a" * 2**20}, "examples": [{}] * 3000})
    status, found = rest(body, "/v1/models/examples:classify")
    assert status == 400 and "3,000 rows" in found["error"]


@pytest.mark.parametrize("example", [b"\xff" * 20, b"no example"])
def test_an_example_that_is_none_is_the_requests_fault(call, example):
    request = messages.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "examples", "of_examples"
    request.input.example_list.examples.append(example)
    code, message = call("Classify", request.SerializeToString())
    assert code == "INVALID_ARGUMENT" and "the model refuses the request" in message


def predict(**fields):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "pixels"
    tensor = tf.make_tensor_proto(served.pixels(0))
    for name, value in fields.items():
        tensor.ClearField("tensor_content")
        getattr(tensor, name).extend(value) if name != "dtype" else setattr(tensor, name, value)
    request.inputs["image"].CopyFrom(tensor)
    return request.SerializeToString()


@pytest.mark.parametrize(("data", "message"), [
    (predict(dtype=4242), "image is of type 4242, not of expected type: uint8"),
    (predict(int_val=[300]), "do not fit its type"),
    (predict(int_val=[-1]), "do not fit its type"),
    (predict(int_val=[1] * 1000), "1000 of 192"),
    (predict(int_val=[1] * (wire.PACKED_BYTES + 1)), "send them as tensor_content"),
    (predict(string_val=[b""] * (wire.FIELDS + 1)), "more than 20,000 fields"),
    (b"\x12\x00" * (wire.FIELDS + 1), "more than 20,000 fields"),
    (predict()[:-1], "damaged or cut off"),
    (b"\xff" * 100, "damaged or cut off"),
    (b"\x0a\x03\x0a\x01\xff", "no PredictRequest"),
], ids=range(10))  # fmt: skip
def test_protobuf_that_gave_unknown(call, data, message):
    code, told = call("Predict", data)
    assert code == "INVALID_ARGUMENT" and message in told, told
    assert call("Predict", predict()) == ("OK", "")
    assert call("Predict", predict(int_val=[7])) == ("OK", "")  # one value for all


def test_bytes_in_flight_are_bounded(toy_store):
    """A request that waits for its body holds what it announced."""
    limits = Limits(body_bytes=1000, in_flight_bytes=1500)
    with served.running(toy_store, limits=limits) as found, urllib3.PoolManager(retries=False) as pool:
        host = found.rest.removeprefix("http://")
        first = http.client.HTTPConnection(host)
        first.putrequest("POST", PREDICT)
        first.putheader("Content-Length", "1000")
        first.endheaders(b"{")
        url = f"{found.rest}{PREDICT}"
        while (refused := pool.request("POST", url, body=b" " * 600)).status != 429:
            assert refused.status == 400  # the first has not come in yet
        assert refused.headers["Retry-After"] == "1" and refused.headers["Connection"] == "close"
        assert "--max-in-flight" in json.loads(refused.data)["error"]
        first.send(b" " * 999)
        assert first.getresponse().status == 400
        first.close()
        assert pool.request("POST", url, body=b" " * 600).status == 400


@pytest.mark.parametrize("head", [
    b"no HTTP at all\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
    b"GET / HTTP/1.1\r\na: " + b"b" * 2**20 + b"\r\n\r\n", b"GET /healthz HTTP/1.1\r\n\r\n" * 1000,
], ids=["words", "headers", "long", "pipelined"])  # fmt: skip
def test_bad_http_is_answered_in_json(toy_server, head):
    import socket

    host, port = toy_server.rest.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as sent:
        try:
            sent.sendall(head)
            answer = b"".join(iter(lambda: sent.recv(2**16), b""))
        except (ConnectionResetError, BrokenPipeError):  # it did not wait for the rest
            return
    found = answer[answer.rindex(b"HTTP/1.1 400") :]
    assert b"content-type: application/json" in found and json.loads(found.partition(b"\r\n\r\n")[2])["error"]


def test_a_body_that_nobody_reads_is_no_head(toy_server):
    """Its answer comes before it does, and the connection goes on."""
    kept = http.client.HTTPConnection(toy_server.rest.removeprefix("http://"))
    for _ in range(3):
        kept.request("POST", "/v1/models/none:predict", body=bytes(300_000))
        assert kept.getresponse().read().startswith(b'{"error": "Servable not found')
    first = kept.sock
    kept.request("GET", "/healthz")
    assert kept.getresponse().read() == b'{"status":"ready"}' and kept.sock is first
    kept.close()


def test_more_connections_than_there_may_be(toy_store):
    with served.running(toy_store, limits=Limits(connections=1)) as found:
        host = found.rest.removeprefix("http://")
        first, second = (http.client.HTTPConnection(host) for _ in range(2))
        first.request("GET", "/healthz")
        assert first.getresponse().read() == b'{"status":"ready"}'
        second.request("GET", "/healthz")
        refused = second.getresponse()
        assert refused.status == 503 and "--max-connections" in json.loads(refused.read())["error"]
        first.close()
        second.close()
