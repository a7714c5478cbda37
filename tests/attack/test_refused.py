"""Requests that made a server answer wrongly, all at once. What the large ones cost is in test_costs.py."""

import json
import socket

import attacker
import numpy as np
import pytest
import rest_grammar
import served
import tensorflow as tf
import worst
from grpc_grammar import MESSAGES, PNG
from toys import CLASSIFY

CUT = PNG[:60]  # its header is whole


@pytest.fixture
def rest(toy_server):
    found = attacker.Rest(toy_server.rest.removeprefix("http://"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def calls(toy_server):
    found = attacker.Grpc(toy_server.grpc.removeprefix("grpc://"))
    yield found
    found.close()


def refused(found):
    assert not found.wrong and found.kind == "refused", found


def nested(core, deep=900):
    return '{"signature_name": "text", "instances": ' + "[" * deep + core + "]" * deep + "}"


@pytest.mark.parametrize("body", [
    nested('"a"'), nested(""), nested("1"), nested('{"b64": "AAAA"}'), nested('"a"', 65), nested('"a"', 100_000),
    nested("{}").replace('"text"', '"serving_default"'), '{"instances": [' + '{"a":' * 900 + "1" + "}" * 900 + "]}",
    '{"signature_name": "\\ud800", "instances": ["a"]}', '{"signature_name": "text", "inputs": {"\\ud800": ["a"]}}',
    '{"signature_name": "text", "instances": [{"\\udc00": "a"}]}', '{"\\ud800": 1}', '"\\ud800"',
    '{"signature_name": "text", "instances": [{"b64": "\\ud800"}]}', '{"signature_name": "\\u0000\\n", "inputs": []}',
    '{"signature_name": ["\\ud800"], "inputs": []}', '{"instances": [1e400]}', '{"instances": [-Infinity, NaN]}',
    '{"instances": [' + "9" * 5000 + "]}", '{"instances": [1' + "0" * 400 + "]}", "[" * 100_000,
    '{"instances": ["' + "\\ud800" * 100 + '"]}', b'{"signature_name": "text", "instances": ["\xed\xa0\x80"]}',
    b"\xff\xfe{\0}\0", b"\xef\xbb\xbf{}",
], ids=range(25))  # fmt: skip
@pytest.mark.parametrize("model", ["words", "pixels"])
def test_json_that_is_not_for_a_model(rest, model, body):
    refused(rest.ask("POST", f"/v1/models/{model}:predict", body.encode() if isinstance(body, str) else body))
    assert rest.ask("GET", f"/v1/models/{model}", b"").kind == "ok"


@pytest.mark.parametrize("examples", [
    '[{"\\ud800": 1}]', '["\\ud800"]', '[{"x": "\\ud800"}]', '[{"x": ' + "[" * 900 + "1" + "]" * 900 + "}]", "[{}]",
    '[{"x": [1, "a"]}]', '[{"x": 9223372036854775808}]', '[{"x": {}}]', '[{"x": [1, 2]}]', "[[]]",
], ids=range(10))  # fmt: skip
def test_examples_that_are_not_for_a_model(rest, examples):
    body = f'{{"signature_name": "{CLASSIFY}", "examples": {examples}}}'
    refused(rest.ask("POST", "/v1/models/examples:classify", body.encode()))


@pytest.mark.parametrize("place", ["/versions/%d9%a1", "/labels/%ff%fe", "/labels/%00", "/labels/%0a", "/versions/1e3"])
def test_paths_that_lead_nowhere(rest, place):
    for model in ("pixels", "%ed%a0%80", "%0d%0aX:1"):
        refused(rest.ask("POST", f"/v1/models/{model}{place}:predict", b"{}"))


def tensor(dtype, shape=(1, 8, 8, 3), **values):
    found = MESSAGES["Predict"](model_spec={"name": "pixels"})
    found.inputs["image"].dtype = dtype
    for size in shape:
        found.inputs["image"].tensor_shape.dim.add(size=size)
    for name, value in values.items():
        getattr(found.inputs["image"], name).extend(value)
    return "Predict", found.SerializeToString()


NO_MESSAGES = (b"", b"\xff", b"\x0a\x05", b"\x0a\x01\xff", b"\x12\xff\xff\xff\xff\x7f")
UINT8 = tf.uint8.as_datatype_enum


@pytest.mark.parametrize("asked", [
    *(tensor(dtype) for dtype in (0, 8, 11, 14, 18, 19, 20, 21, 22, 25, 99, 101, 107, 2**31 - 1, -1, -(2**31))),
    *(tensor(UINT8, int_val=[value]) for value in (256, -1, 2**31 - 1)), tensor(UINT8, shape=(), int_val=[300]),
    tensor(tf.int8.as_datatype_enum, int_val=[128]), tensor(tf.float16.as_datatype_enum, half_val=[2**16, -1]),
    tensor(UINT8, (-1, 8, 8, 3), int_val=[1]), tensor(UINT8, (2**62, 4), int_val=[1]), tensor(UINT8, (0, 2**63 - 1)),
    tensor(UINT8, [1] * 300, int_val=[1]), tensor(UINT8, int_val=[1] * 200), tensor(UINT8, float_val=[1.0]),
    *((method, data) for method in MESSAGES for data in NO_MESSAGES),
], ids=str)  # fmt: skip
def test_messages_that_are_not_for_a_model(calls, asked):
    refused(calls.ask(*asked))
    assert calls.ask("GetModelStatus", MESSAGES["GetModelStatus"](model_spec={"name": "pixels"}).SerializeToString())


def test_an_image_that_is_cut_off(rest, calls, toy_server, colours):
    body = {"signature_name": "image_bytes", "instances": [served.b64(CUT)]}
    refused(rest.ask("POST", "/v1/models/pixels:predict", json.dumps(body).encode()))
    asked = MESSAGES["Predict"](model_spec={"name": "pixels", "signature_name": "image_bytes"})
    asked.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([CUT]))
    refused(calls.ask("Predict", asked.SerializeToString()))


def test_an_image_that_is_cut_off_and_decoded_in_the_graph(tmp_path):
    body = {"signature_name": "image_bytes", "instances": [served.b64(CUT)]}
    with served.running(f"masks={served.masks(tmp_path / 'masks')}") as found:
        rest = attacker.Rest(found.rest.removeprefix("http://"))
        refused(rest.ask("POST", "/v1/models/masks:predict", json.dumps(body).encode()))
        body["instances"] = [served.b64(served.png(served.one_colour("red")))]
        assert rest.ask("POST", "/v1/models/masks:predict", json.dumps(body).encode()).kind == "ok"
        rest.close()


def test_more_examples_than_rows_that_are_taken(rest, calls):
    """A context is copied into each: small bodies, before their number is looked at."""
    method, message = worst.grpc()["a context of 210 kB for no model"]()
    refused(calls.ask(method, message))
    body = {"signature_name": CLASSIFY, "context": {"x": "a" * 1000}, "examples": [{}] * 3000}
    for model in ("examples", "none"):
        refused(rest.ask("POST", f"/v1/models/{model}:classify", json.dumps(body).encode()))


HEAD = "POST /v1/models/pixels:predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.mark.parametrize("sent", [
    b"no HTTP at all\r\n\r\n", b"\0\1\2\3\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET  HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", f"{HEAD}Content-Length: -1\r\n\r\n".encode(),
    f"{HEAD}Content-Length: 1e3\r\n\r\n".encode(), f"{HEAD}Content-Length: 1\r\nContent-Length: 2\r\n\r\na".encode(),
    f"{HEAD}Transfer-Encoding: chunked\r\n\r\nxyz\r\n".encode(), f"{HEAD}: empty\r\n\r\n".encode(),
    f"{HEAD}X: {'a' * 66_000}\r\n\r\n".encode(), f"{HEAD}{'X: a' + chr(13) + chr(10)}".encode() * 200 + b"\r\n",
    f"GET /{'a' * 66_000} HTTP/1.1\r\n\r\n".encode(),
], ids=range(13))  # fmt: skip
def test_what_is_no_http_is_answered_in_json(toy_server, rest, sent):
    status, body = raw(toy_server.rest, sent)
    assert 400 <= status < 500 and not rest_grammar.wrong(status, body), body
    assert rest.ask("GET", "/healthz", b"").kind == "ok"


def raw(address, sent):
    """The status and the body of what a server sends until it closes the connection."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        try:
            connection.sendall(sent)
        except OSError:  # it has read enough
            pass
        received = b""
        while part := connection.recv(2**16):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def test_numbers_of_an_answer_are_as_they_were(rest, calls):
    """The attacks left the models alone."""
    body = json.dumps({"instances": np.zeros((1, 8, 8, 3), int).tolist()}).encode()
    assert rest.ask("POST", "/v1/models/pixels:predict", body).kind == "ok"
