"""Our values as TF Serving's messages, and back."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    prediction_log_pb2,
    regression_pb2,
)

from cnn_app.errors import ServingError
from cnn_app.names import DEFAULT
from cnn_app.serving import tensor_proto
from cnn_app.serving.server.errors import invalid
from cnn_app.serving.server.signatures import Signature
from cnn_app.tensors import Spec, name_of

if TYPE_CHECKING:
    from cnn_app.tensors import Arrays

STATES = get_model_status_pb2.ModelVersionStatus
FAILED = 2  # UNKNOWN, among TensorFlow's error codes


def check(given, known: Signature, rows: int) -> None:
    """Hold the tensors of a request against the signature, before their values are touched."""
    known.keys(given)
    for name, spec in known.inputs.items():
        number = given[name].dtype
        if number != _number(spec):
            found = tensor_proto.NAMES.get(number, f"of type {number}")
            raise invalid(f"input {name} is {found}, not of expected type: {spec.dtype}")
        known.fits(name, tuple(dim.size for dim in given[name].tensor_shape.dim), rows)


def size(given) -> int:
    """The bytes that the tensors of a request claim to have: one value may stand for all."""
    return sum(prod(dim.size for dim in message.tensor_shape.dim)
               * _bytes(tensor_proto.NAMES.get(message.dtype, "string")) for message in given.values())  # fmt: skip


@functools.cache
def _bytes(name: str) -> int:
    """Of a value; of a string those of its place."""
    return np.dtype(object if name == "string" else name).itemsize


def array(message, name: str) -> np.ndarray:
    """A TensorProto's values; those of types that the client does not know go through TensorFlow."""
    try:
        if message.dtype in tensor_proto.NAMES:
            return tensor_proto.array(message)
        return tf.make_ndarray(tensor_pb2.TensorProto.FromString(message.SerializeToString()))
    except (ServingError, TypeError, ValueError, IndexError, KeyError, OverflowError) as error:
        raise invalid(f"input {name}: {str(error).splitlines()[0][:200]}") from error


@functools.cache
def _number(spec: Spec) -> int:
    return tf.dtypes.as_dtype(spec.dtype).as_datatype_enum


def fill(given, values: Arrays) -> None:
    """Write arrays into a map of TensorProtos."""
    for name, value in values.items():
        if name_of(value.dtype) in tensor_proto.TYPES:
            tensor_proto.fill(given[name], value)
        else:
            given[name].ParseFromString(tf.make_tensor_proto(value).SerializeToString())


def classifications(spec, rows) -> classification_pb2.ClassificationResponse:
    """Of labels and scores for each example."""
    response = classification_pb2.ClassificationResponse()
    response.model_spec.ParseFromString(spec.SerializeToString())
    for row in rows:
        line = response.result.classifications.add()
        for label, score in row:
            line.classes.add(label=label, score=score)
    return response


def regressions(spec, values) -> regression_pb2.RegressionResponse:
    response = regression_pb2.RegressionResponse()
    response.model_spec.ParseFromString(spec.SerializeToString())
    for value in values:
        response.result.regressions.add(value=value)
    return response


def logged(file: Path, most: int) -> Iterator[tuple[str, Arrays]]:
    """The signature and inputs of each recorded PredictRequest."""
    for record in tf.data.TFRecordDataset(str(file)).take(most):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        found = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        yield request.model_spec.signature_name or DEFAULT, found


def status(versions: Iterable) -> get_model_status_pb2.GetModelStatusResponse:
    response = get_model_status_pb2.GetModelStatusResponse()
    for version in versions:
        line = response.model_version_status.add(version=version.number, state=STATES.State.Value(version.state))
        line.status.error_message = version.error
        line.status.error_code = FAILED if version.error else 0
    return response


def metadata(name: str, version) -> get_model_metadata_pb2.GetModelMetadataResponse:
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = name
    response.model_spec.version.value = version.number
    response.metadata["signature_def"].Pack(signature_map(version.engine.signatures))
    return response


def signature_map(signatures: dict[str, Signature]) -> get_model_metadata_pb2.SignatureDefMap:
    found = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in signatures.items():
        definition = found.signature_def[name]
        definition.method_name = signature.method
        for specs, infos in ((signature.inputs, definition.inputs), (signature.outputs, definition.outputs)):
            for key, spec in specs.items():
                infos[key].CopyFrom(_info(key, spec))
    return found


def _info(key: str, spec: Spec) -> meta_graph_pb2.TensorInfo:
    info = meta_graph_pb2.TensorInfo(name=spec.tensor or key, dtype=tf.dtypes.as_dtype(spec.dtype).as_datatype_enum)
    if spec.shape is None:
        info.tensor_shape.unknown_rank = True
    for side in spec.shape or ():
        info.tensor_shape.dim.add(size=-1 if side is None else side)
    return info


def status_json(versions: Iterable) -> dict:
    return MessageToDict(status(versions), preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def metadata_json(name: str, version) -> dict:
    """As TF Serving writes it: the map of signatures is itself a message with one field of the same name."""
    signatures = MessageToDict(signature_map(version.engine.signatures), preserving_proto_field_name=True,
                               always_print_fields_with_no_presence=True)  # fmt: skip
    spec = {"name": name, "signature_name": "", "version": str(version.number)}
    return {"model_spec": spec, "metadata": {"signature_def": signatures}}
