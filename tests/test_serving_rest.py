"""The REST server: TF Serving's forms and status codes, whatever is wrong with a request, limits, and fuzzing.

What is expected comes from https://www.tensorflow.org/tfx/serving/api_rest and from TF Serving's own tests
(model_servers/http_rest_api_handler_test.cc, util/json_tensor_test.cc).
"""

import json

import numpy as np
import pytest
import served
import urllib3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnn_app.errors import ServingError

IMAGE = served.pixels(0)[0].tolist()
COLOURS = "/v1/models/colours"


@pytest.fixture(scope="module")
def http():
    with urllib3.PoolManager(retries=False, timeout=30) as pool:
        yield pool


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """The address of TF Serving's half_plus_two."""
    base = tmp_path_factory.mktemp("half_plus_two")
    served.half_plus_two(base, 123)
    with served.running(f"half_plus_two={base}") as found:
        yield f"{found.rest}/v1/models/half_plus_two"


def post(http, url, body, **headers):
    return served.asked(http, "POST", url, body, headers)


def get(http, url):
    return served.asked(http, "GET", url)


STATUS = {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}


def test_a_models_status_is_as_in_the_documentation(half, http):
    for url in (half, f"{half}/versions/123", half.replace("/v1/models", "/V1/MODELS")):
        assert get(http, url) == (200, {"model_version_status": [STATUS]})


def test_metadata_names_the_tensors(half, http):
    status, found = get(http, f"{half}/metadata")
    assert status == 200
    assert found["model_spec"] == {"name": "half_plus_two", "signature_name": "", "version": "123"}
    signatures = found["metadata"]["signature_def"]["signature_def"]
    assert signatures["serving_default"]["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert signatures["regress_x_to_y"]["method_name"] == "tensorflow/serving/regress"


@pytest.mark.parametrize(("method", "body", "answer"), [
    ("predict", {"instances": [1.0, 2.0, 5.0]}, {"predictions": [2.5, 3.0, 4.5]}),
    ("predict", {"instances": [[1.0, 2.0], [3.0, 4.0]]}, {"predictions": [[2.5, 3.0], [3.5, 4.0]]}),
    ("predict", {"instances": [{"x": 1.0}, {"x": 2}]}, {"predictions": [2.5, 3.0]}),
    ("predict", {"signature_name": "serving_default", "inputs": [3.0, 4.0]}, {"outputs": [3.5, 4.0]}),
    ("predict", {"signature_name": "", "inputs": {"x": [3.0, 0.4]}}, {"outputs": [3.5, 2.2]}),
    ("predict", {"inputs": 1.0}, {"outputs": 2.5}),
    ("regress", {"signature_name": "regress_x_to_y", "examples": [{"x": 80.0}]}, {"results": [42.0]}),
    ("regress", {"signature_name": "regress_x_to_y", "context": {"x": [80.0]}, "examples": [{}, {"y": "a"}]},
     {"results": [42.0, 42.0]}),
    ("classify", {"signature_name": "classify_x_to_y", "examples": [{"x": 20.0}]}, {"results": [[["", 12.0]]]}),
])  # fmt: skip
def test_calls_from_tf_servings_tests_get_its_answers(half, http, method, body, answer):
    for place in ("", "/versions/123"):
        assert post(http, f"{half}{place}:{method}", body) == (200, answer)


@pytest.mark.parametrize(("call", "path", "status", "message"), [
    ("GET", "/v1/foo", 400, "Malformed request"),
    ("POST", "/v1/foo", 400, "Malformed request"),
    ("GET", "/v1/models", 400, "Missing model name"),
    ("POST", "/v1/models", 400, "Malformed request"),
    ("DELETE", COLOURS, 400, "Malformed request"),
    ("GET", "/v1/models/foo:predict", 400, "Malformed request"),
    ("POST", "/v1/models/foo/version/50:regress", 400, "Malformed request"),
    ("POST", "/v1/models/foo/versions/HELLO:regress", 400, "Malformed request"),
    ("POST", f"{COLOURS}/versions/{2**64 - 1}:regress", 400, "Failed to convert version"),
    ("POST", "/v1/models/foo:predict", 404, "models here: colours"),
    ("POST", f"{COLOURS}/versions/99:predict", 404, "available versions: 1, 2"),
    ("POST", f"{COLOURS}/labels/none:predict", 400, "Unrecognized servable version label: none; labels of colours: c"),
    ("GET", "/v1/models/foo", 404, "Servable not found"),
    ("GET", f"{COLOURS}/versions/99", 404, "Could not find version 99"),
    ("GET", f"{COLOURS}/versions/99/metadata", 404, "Servable not found"),
    ("GET", "/nowhere", 404, "Not Found"),
])  # fmt: skip
def test_paths_that_lead_nowhere(addresses, http, call, path, status, message):
    body = '{"instances": [1]}' if call == "POST" else None
    found, answer = served.asked(http, call, addresses.rest + path, body)
    assert found == status and list(answer) == ["error"] and message in answer["error"]


def deep(levels):
    return '{"instances": ' + "[" * levels + "]" * levels + "}"


@pytest.mark.parametrize(("body", "message"), [
    ("", "JSON Parse error: The document is empty"),
    ("instances = [1, 2]", "JSON Parse error: Invalid value"),
    ("\xff\xfe", "JSON Parse error"),
    (deep(100_000), "JSON Parse error"),
    ("[1]", "Is not object"),
    ({"instance": [IMAGE]}, "Missing 'inputs' or 'instances' key; the request has instance"),
    ({"instances": [IMAGE], "inputs": [IMAGE]}, "expecting only one of"),
    ({"instances": IMAGE[0][0][0]}, "to be an list/array"),
    ({"instances": []}, "No values in 'instances'"),
    ({"signature_name": 100}, "'signature_name' key must be a string value"),
    ({"signature_name": "none", "instances": [1]}, 'Serving signature name: "none" not found in signature def'),
    ({"instances": [{"other": IMAGE}]}, "keys must be equal to: image"),
    ({"inputs": {"image": [IMAGE], "other": 1}}, "the unknown other; keys must be equal to: image"),
    ({"instances": [{"image": IMAGE}, IMAGE]}, "Expecting object but got list at item 1"),
    ({"instances": [IMAGE, {"image": IMAGE}]}, "Expecting value/list but got object at item 1"),
    ({"instances": [1, 2]}, "input image has shape (2,); expected uint8 (n, 8, 8, 3)"),
    ({"instances": [IMAGE[:7]]}, "input image has shape (1, 7, 8, 3); expected uint8 (n, 8, 8, 3)"),
    ({"instances": [IMAGE, IMAGE[:7]]}, "found at incorrect level"),
    ({"instances": [[[["a"] * 3] * 8] * 8]}, "not of expected type: uint8"),
    ({"instances": [[[[0.5] * 3] * 8] * 8]}, "not of expected type: uint8"),
    ({"instances": [[[[None] * 3] * 8] * 8]}, "not of expected type: uint8"),
    ({"instances": [[[[256] * 3] * 8] * 8]}, "input image: a number is out of range; expected uint8"),
    ({"instances": [[[[-1] * 3] * 8] * 8]}, "out of range"),
    ({"instances": [[[[10**40] * 3] * 8] * 8]}, "not of expected type: uint8"),
    ({"instances": [[[[float("nan")] * 3] * 8] * 8]}, "not of expected type: uint8"),
    ({"instances": [IMAGE] * 257}, "257 rows; from 1 to 256 are allowed"),
    ({"signature_name": "image_bytes", "instances": [{"b64": "%%%"}]}, "Unable to base64 decode"),
    ({"signature_name": "image_bytes", "instances": [{"b64": 1}]}, "keys must be equal to: image_bytes"),
    ({"signature_name": "image_bytes", "instances": [1]}, "not of expected type: string"),
    ({"signature_name": "image_bytes", "instances": [served.b64(b"no image")]}, "no JPEG, PNG, WebP, BMP or GIF"),
    ({"signature_name": "image_bytes", "instances": [served.b64(b"")]}, "the file is empty"),
    ({"signature_name": "image_bytes", "instances": [served.b64(served.bomb())]}, "50000x50000 pixels; more than"),
    ({"signature_name": "image_bytes", "instances": [served.b64(served.png(served.one_colour("red", 64))[:-40])]},
     "damaged or cut off"),
])  # fmt: skip
def test_bad_requests_are_told_what_is_wrong_with_them(addresses, http, body, message):
    body = body.encode("latin-1") if isinstance(body, str) else body
    status, found = post(http, f"{addresses.rest}{COLOURS}:predict", body)
    assert (status, list(found)) == (400, ["error"]) and message in found["error"]
    assert len(found["error"]) < 500
    good = post(http, f"{addresses.rest}{COLOURS}:predict", {"instances": [IMAGE]})
    assert good[0] == 200


@pytest.mark.parametrize(("method", "body", "message"), [
    ("predict", '{"instances": [NaN]}', "input x holds NaN or infinity"),
    ("predict", '{"instances": [1e39]}', "out of range; expected float32"),
    ("predict", '{"instances": [[1], [2, 3]]}', "found at incorrect level"),
    ("predict", '{"signature_name": "regress_x_to_y", "instances": ["no example"]}', "the model refuses the request"),
    ("classify", '{"examples": [{"x": 1.0}]}', "Expected classification signature method_name to be "
     "tensorflow/serving/classify. Was: tensorflow/serving/predict"),
    ("regress", '{"signature_name": "regress_x_to_y"}', "key 'examples' is expected"),
    ("regress", '{"signature_name": "regress_x_to_y", "examples": [1]}', "Example must be JSON object"),
    ("regress", '{"signature_name": "regress_x_to_y", "examples": [{"x": [null]}]}', "unexpected JSON type"),
])  # fmt: skip
def test_bad_requests_to_other_signatures(half, http, method, body, message):
    status, found = post(http, f"{half}:{method}", body)
    assert status == 400 and message in found["error"]


def test_labels_versions_and_rows_go_where_they_should(addresses, http):
    pixels = served.pixels(1, 5)
    for place, version in (("", 2), ("/labels/stable", 1), ("/labels/canary", 2), ("/versions/1", 1)):
        status, found = post(http, f"{addresses.rest}{COLOURS}{place}:predict", {"instances": pixels.tolist()})
        assert status == 200 and [row["version"] for row in found["predictions"]] == [version] * 5
        got = [row["probabilities"] for row in found["predictions"]]
        np.testing.assert_allclose(got, served.probabilities(pixels), rtol=1e-5)


def test_encoded_images_are_answered_with_labels(addresses, http):
    bodies = [served.b64(served.png(served.one_colour(label, 20))) for label in served.LABELS]
    _, found = post(http, f"{addresses.rest}{COLOURS}:predict", {"signature_name": "image_bytes", "instances": bodies})
    assert [row["classes"][0] for row in found["predictions"]] == list(served.LABELS)
    assert found["predictions"][0]["scores"][0] == pytest.approx(max(found["predictions"][0]["probabilities"]))


@pytest.mark.parametrize("host, status", [("[::1]:8501", 200), ("localhost", 200), ("127.0.0.1.evil.example", 403),
                                          ("evil.example:8501", 403), ("[::1", 403)])  # fmt: skip
def test_a_page_elsewhere_cannot_ask_by_a_name_of_its_own(half, http, host, status):
    assert served.asked(http, "GET", half, headers={"Host": host})[0] == status


def test_health_and_metrics(addresses, http):
    assert get(http, f"{addresses.rest}/healthz") == (200, {"status": "ready"})
    post(http, f"{addresses.rest}{COLOURS}:predict", {"instances": [IMAGE]})
    page = http.request("GET", f"{addresses.rest}/monitoring/prometheus/metrics").data.decode()
    assert 'cnn_app_requests_total{api="REST",code="OK",model="colours"}' in page
    assert 'cnn_app_batch_rows_count{model="colours",version="2"}' in page


@pytest.mark.slow
def test_several_models_by_what_a_store_holds(colours, tmp_path, http):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "a").symlink_to(colours)
    served.half_plus_two(tmp_path / "store" / "half", 7)
    with served.running(tmp_path / "store", f"other={colours / 'serving' / '1'}") as found:
        assert {row["name"] for row in json.loads(http.request("GET", f"{found.rest}/models.json").data)} == {
            "colours", "half", "other"}  # fmt: skip
        assert post(http, f"{found.rest}/v1/models/half/versions/7:predict", {"inputs": 2})[1] == {"outputs": 3.0}
    for place, message in ((tmp_path / "none", "there is nothing at"), (tmp_path, "holds no exported model")):
        with pytest.raises(ServingError, match=message), served.running(place):
            raise AssertionError("it serves nothing")
    with pytest.raises(ServingError, match="two models are named colours"), served.running(colours, colours):
        raise AssertionError("which of them?")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["b64", "image", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)
BODIES = st.fixed_dictionaries({}, optional={
    "signature_name": st.sampled_from(["serving_default", "image_bytes", "", "none"]) | JSON, "instances": JSON,
    "inputs": JSON, "examples": JSON, "context": JSON,
}).map(json.dumps).map(str.encode)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True, database=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(
    method=st.sampled_from(["predict", "classify", "regress"]),
    place=st.sampled_from(["", "/versions/1", "/labels/stable", "/versions/٣", "/labels/%00"]),
    body=BODIES | st.binary(max_size=200),
)
def test_nothing_that_is_sent_breaks_the_server(addresses, http, method, place, body):
    status, found = post(http, f"{addresses.rest}{COLOURS}{place}:{method}", body)
    assert status == 200 or (status in (400, 404) and list(found) == ["error"])
