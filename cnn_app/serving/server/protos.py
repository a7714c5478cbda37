"""Our values as TF Serving's messages, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, prediction_log_pb2

from cnn_app.names import DEFAULT
from cnn_app.serving.server.errors import invalid
from cnn_app.serving.server.signatures import Signature
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    from cnn_app.tensors import Arrays

STATES = get_model_status_pb2.ModelVersionStatus
FAILED = 2  # UNKNOWN, among TensorFlow's error codes


def array(message, name: str, most_bytes: int) -> np.ndarray:
    """A TensorProto's values. A small message may claim a large shape, so that is looked at first."""
    try:
        dtype = tf.dtypes.as_dtype(message.dtype)
        count = 1
        for dim in message.tensor_shape.dim:
            count *= max(dim.size, 0)
        if count * max(dtype.size or 1, 1) > most_bytes:
            raise invalid(
                f"input {name} claims {count:,} values of {dtype.name}; at most {most_bytes:,} bytes are taken"
            )
        return tf.make_ndarray(message)
    except (TypeError, ValueError, IndexError) as error:
        raise invalid(f"input {name} is no tensor: {str(error).splitlines()[0][:200]}") from error


def arrays(messages, most_bytes: int) -> Arrays:
    return {name: array(message, name, most_bytes) for name, message in messages.items()}


def fill(messages, values: Arrays) -> None:
    """Write arrays into a map of TensorProtos."""
    for name, value in values.items():
        messages[name].CopyFrom(tf.make_tensor_proto(value))


def logged(file: Path, most: int) -> Iterator[tuple[str, Arrays]]:
    """The signature and inputs of each recorded PredictRequest."""
    for record in tf.data.TFRecordDataset(str(file)).take(most):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        yield request.model_spec.signature_name or DEFAULT, arrays(request.inputs, 2**31)


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
