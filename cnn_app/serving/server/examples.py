"""Classify and Regress: TF Serving's older calls, which send tf.Examples to a signature made for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cnn_app.serving import messages_pb2 as messages
from cnn_app.serving.server import json_tensor
from cnn_app.serving.server.errors import invalid
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    from cnn_app.serving.server.signatures import Signature
    from cnn_app.tensors import Arrays

METHODS = {"classify": "tensorflow/serving/classify", "regress": "tensorflow/serving/regress"}


@dataclass(frozen=True)
class Given:
    """tf.Examples, serialized; what all of them share stands once."""

    signature: str
    context: bytes
    examples: list[bytes]


def parse(data: json_tensor.Buffer) -> Given:
    """A :classify or :regress request."""
    found = json_tensor.parse(data)
    examples = found.get("examples")
    if not isinstance(examples, list) or not examples:
        raise invalid("When method is classify or regress, key 'examples' is expected, with a list of objects")
    context = _example(found["context"]) if "context" in found else b""
    return Given(json_tensor.signature_name(found), context, list(map(_example, examples)))


def arrays(given: Given, known: Signature, rows: int, most: int) -> Arrays:
    """The one input of a signature: each example with the features of the context where it has no such of its own.

    They are `rows` and `most` bytes together at most.
    """
    if len(known.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    (name,) = known.inputs
    context, examples = given.context, given.examples
    known.fits(name, (len(examples),), rows)
    size = len(context) * len(examples) + sum(map(len, examples))
    if size > most:
        raise invalid(f"{len(examples)} examples, each with a context of {len(context):,} bytes, are {size:,} "
                      f"bytes; at most {most:,} are taken (--max-body)")  # fmt: skip
    found = np.empty(len(examples), object)
    found[:] = [context + example for example in examples]  # the later of two features counts
    return {name: found}


def classes(outputs: Arrays) -> list[list[tuple[str, float]]]:
    """Label and score of every class of each example; what the signature does not give is empty."""
    scores, labels = outputs.get("scores"), outputs.get("classes")
    if scores is None and labels is None:
        raise invalid(f"Expected outputs classes or scores, found {', '.join(outputs)}")
    labels = np.full_like(scores, b"", object) if labels is None else labels
    scores = np.zeros_like(labels, np.float32) if scores is None else scores
    rows, numbers = json_tensor.plain(labels, "classes"), json_tensor.plain(scores, "scores")
    return [list(zip(*row, strict=True)) for row in zip(rows, numbers, strict=True)]


def values(outputs: Arrays) -> np.ndarray:
    if "outputs" not in outputs:
        raise invalid(f"Expected the output outputs, found {', '.join(outputs)}")
    found = outputs["outputs"]
    return found.reshape(len(found))


def _example(features) -> bytes:
    if not isinstance(features, dict):
        raise invalid(f"Example must be JSON object but got {str(features)[:60]}")
    found = messages.Example()
    for name, value in features.items():
        feature = _feature(value if isinstance(value, list) else [value], name)
        try:
            found.features.feature[name].CopyFrom(feature)
        except ValueError as error:  # a lone surrogate
            raise invalid(f"Feature: {name[:60]} has a name that is no text") from error
    return found.SerializeToString()


def _feature(values: list, name: str) -> messages.Feature:
    try:
        if all(isinstance(value, str | dict) for value in values):
            data = json_tensor.tensor(values, name, Spec("string", None)).tolist()
            return messages.Feature(bytes_list=messages.BytesList(value=data))
        if all(isinstance(value, int) for value in values):  # true and false among them
            return messages.Feature(int64_list=messages.Int64List(value=map(int, values)))
        return messages.Feature(float_list=messages.FloatList(value=values))
    except (TypeError, ValueError, OverflowError) as error:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {str(error)[:100]}") from error
