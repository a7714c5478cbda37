"""The client's own messages: compiled from what is written, and TF Serving's to the byte."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from cnn_app.errors import ServingError
from cnn_app.serving import messages_pb2 as messages
from cnn_app.serving import tensor_proto

ROOT = Path(__file__).parents[1]
FILE = "cnn_app/serving/messages"
OFFICIAL = (
    tensor_pb2, tensor_shape_pb2, meta_graph_pb2, get_model_metadata_pb2, get_model_status_pb2, model_pb2, predict_pb2,
    classification_pb2, regression_pb2, input_pb2, example_pb2, feature_pb2,
)  # fmt: skip
SERIALIZED = ("examples", "context")  # messages that we pass on as they come


def test_the_compiled_messages_are_current(tmp_path):
    pytest.importorskip("grpc_tools")
    command = [sys.executable, "-m", "grpc_tools.protoc", "--proto_path=.", f"--python_out={tmp_path}",
               f"--pyi_out={tmp_path}", f"{FILE}.proto"]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True)
    for suffix in ("_pb2.py", "_pb2.pyi"):
        assert (ROOT / f"{FILE}{suffix}").read_text() == (tmp_path / f"{FILE}{suffix}").read_text(), "make protos"


@pytest.mark.parametrize("name", messages.DESCRIPTOR.message_types_by_name)
def test_fields_are_those_of_tf_serving(name):
    """Both are in one process here, under names of their own."""
    ours = messages.DESCRIPTOR.message_types_by_name[name]
    (official,) = {getattr(module, name).DESCRIPTOR for module in OFFICIAL if hasattr(module, name)}
    assert ours.full_name == f"cnn_app.serving.{name}" != official.full_name
    for field in ours.fields:
        other = official.fields_by_name[field.name]
        kind = field.TYPE_BYTES if field.name in SERIALIZED else other.type
        assert (field.number, field.type, field.is_repeated) == (other.number, kind, other.is_repeated)
        theirs = other.containing_oneof and other.containing_oneof.name
        assert (field.containing_oneof and field.containing_oneof.name) == theirs


def test_types_are_those_of_tensorflow():
    found = messages.DataType.items()
    assert found and found == [(name, types_pb2.DataType.Value(name)) for name, _ in found]


def test_a_type_that_is_not_known_is_told():
    message = messages.TensorProto.FromString(tf.make_tensor_proto(np.float16([1])).SerializeToString())
    with pytest.raises(ServingError, match="a tensor of type 19 came, which is not known here"):
        tensor_proto.array(message)


@pytest.mark.parametrize("value", [
    np.arange(6, dtype=np.uint8).reshape(2, 3), np.float32([[0.5]]), np.int64([-1]), np.array([b"a", b"bc"], object),
    np.zeros((0, 3), np.float32), np.bool_([True, False]), np.float32(3),
], ids=str)  # fmt: skip
def test_tensors_are_read_by_either_side(value):
    official, ours = predict_pb2.PredictRequest(), messages.PredictRequest()
    official.model_spec.name, official.model_spec.version.value = "colours", 3
    official.inputs["x"].CopyFrom(tf.make_tensor_proto(value))
    ours.model_spec.name, ours.model_spec.version.value = "colours", 3
    tensor_proto.fill(ours.inputs["x"], value)
    read = predict_pb2.PredictRequest.FromString(ours.SerializeToString())
    assert read.model_spec == official.model_spec
    np.testing.assert_array_equal(tf.make_ndarray(read.inputs["x"]), tf.make_ndarray(official.inputs["x"]))
    back = messages.PredictRequest.FromString(official.SerializeToString())
    np.testing.assert_array_equal(tensor_proto.array(back.inputs["x"]), value)
