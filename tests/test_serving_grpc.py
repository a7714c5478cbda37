"""The gRPC server, asked by tensorflow-serving-api's own stubs."""

import grpc
import numpy as np
import pytest
import served
import tensorflow as tf
from google.protobuf import wrappers_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from cnn_app.serving.server.service import Limits


@pytest.fixture(scope="module")
def channel(addresses):
    with grpc.insecure_channel(addresses.grpc.removeprefix("grpc://")) as found:
        yield found


@pytest.fixture(scope="module")
def predictions(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def spec(name="colours", version=None, label=None, signature=""):
    number = wrappers_pb2.Int64Value(value=version) if version is not None else None
    return model_pb2.ModelSpec(name=name, version=number, version_label=label, signature_name=signature)


def request(value, key="image", **where):
    found = predict_pb2.PredictRequest(model_spec=spec(**where))
    found.inputs[key].CopyFrom(
        value if isinstance(value, tf.make_tensor_proto(0).__class__) else tf.make_tensor_proto(value)
    )
    return found


@pytest.mark.parametrize(("where", "version"), [({}, 2), ({"version": 1}, 1), ({"label": "stable"}, 1)])
def test_predict(predictions, where, version):
    pixels = served.pixels(5, 3)
    response = predictions.Predict(request(pixels, **where), timeout=30)
    assert response.model_spec.name == "colours" and response.model_spec.version.value == version
    assert response.model_spec.signature_name == "serving_default"
    found = tf.make_ndarray(response.outputs["probabilities"])
    np.testing.assert_allclose(found, served.probabilities(pixels), rtol=1e-5)
    assert tf.make_ndarray(response.outputs["version"]).tolist() == [version] * 3


def test_encoded_images_and_a_filter_of_outputs(predictions):
    asked = request([served.png(served.one_colour("blue"))], "image_bytes", signature="image_bytes")
    asked.output_filter.append("classes")
    response = predictions.Predict(asked, timeout=30)
    assert list(response.outputs) == ["classes"] and tf.make_ndarray(response.outputs["classes"])[0, 0] == b"blue"


def test_metadata_and_status(predictions, channel):
    asked = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec(), metadata_field=["signature_def"])
    response = predictions.GetModelMetadata(asked, timeout=30)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures) and response.model_spec.version.value == 2
    image = signatures.signature_def["serving_default"].inputs["image"]
    assert image.dtype == tf.uint8.as_datatype_enum and [dim.size for dim in image.tensor_shape.dim] == [-1, 8, 8, 3]
    statuses = model_service_pb2_grpc.ModelServiceStub(channel)
    asked = get_model_status_pb2.GetModelStatusRequest(model_spec=spec(version=1))
    (line,) = statuses.GetModelStatus(asked, timeout=30).model_version_status
    assert (line.version, line.state) == (1, get_model_status_pb2.ModelVersionStatus.AVAILABLE)


def test_classify_and_regress(tmp_path):
    served.half_plus_two(tmp_path / "half", 123)
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(20)
    with (
        served.running(tmp_path / "half") as found,
        grpc.insecure_channel(found.grpc.removeprefix("grpc://")) as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        asked = classification_pb2.ClassificationRequest(model_spec=spec("half", signature="classify_x_to_y"))
        asked.input.example_list.examples.append(example)
        (line,) = stub.Classify(asked, timeout=30).result.classifications
        assert [(one.label, one.score) for one in line.classes] == [("", 12)]
        asked = regression_pb2.RegressionRequest(model_spec=spec("half", signature="regress_x_to_y"))
        asked.input.example_list_with_context.context.CopyFrom(example)
        asked.input.example_list_with_context.examples.add()
        assert [one.value for one in stub.Regress(asked, timeout=30).result.regressions] == [12]


def vast():
    """A small message that claims a large tensor."""
    found = tf.make_tensor_proto(np.uint8(1))
    for side in (10**6, 8, 8, 3):
        found.tensor_shape.dim.add(size=side)
    return found


def torn():
    found = tf.make_tensor_proto(served.pixels(0))
    found.tensor_content = found.tensor_content[:-1]
    return found


IMAGE = served.pixels(0)


@pytest.mark.parametrize(("asked", "code", "message"), [
    (request(IMAGE, name=""), "INVALID_ARGUMENT", "Missing ModelSpec"),
    (request(IMAGE, name="none"), "NOT_FOUND", "models here: colours"),
    (request(IMAGE, version=9), "NOT_FOUND", "available versions: 1, 2"),
    (request(IMAGE, label="none"), "INVALID_ARGUMENT", "Unrecognized servable version label"),
    (request(IMAGE, signature="none"), "INVALID_ARGUMENT", "not found in signature def"),
    (request(IMAGE, "other"), "INVALID_ARGUMENT", "keys must be equal to: image"),
    (request(IMAGE.astype(np.float32)), "INVALID_ARGUMENT", "input image is float32, not of expected type: uint8"),
    (request(IMAGE[0]), "INVALID_ARGUMENT", "shape (8, 8, 3); expected uint8 (n, 8, 8, 3)"),
    (request(IMAGE[:0]), "INVALID_ARGUMENT", "the request has 0 rows"),
    (request(vast()), "INVALID_ARGUMENT", "the request has 1,000,000 rows; from 1 to 256 are allowed"),
    (request(torn()), "INVALID_ARGUMENT", "input image: the values of a uint8 tensor do not fit"),
    (request([b"no image"], "image_bytes", signature="image_bytes"), "INVALID_ARGUMENT", "no JPEG, PNG, WebP"),
    (request([served.bomb()], "image_bytes", signature="image_bytes"), "INVALID_ARGUMENT", "more than 64,000,000"),
])  # fmt: skip
def test_bad_requests_get_tf_servings_codes(predictions, asked, code, message):
    with pytest.raises(grpc.RpcError) as refused:
        predictions.Predict(asked, timeout=30)
    assert refused.value.code().name == code and message in refused.value.details()
    assert predictions.Predict(request(IMAGE), timeout=30).outputs


@pytest.mark.slow
def test_messages_over_the_limit_are_refused(colours):
    with served.running(colours, limits=Limits(body_bytes=10)) as found:
        with grpc.insecure_channel(found.grpc.removeprefix("grpc://")) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            with pytest.raises(grpc.RpcError) as refused:
                stub.Predict(request(served.pixels(0, 6000)), timeout=30)
    assert refused.value.code().name == "RESOURCE_EXHAUSTED"
