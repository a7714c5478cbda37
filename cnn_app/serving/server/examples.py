"""Classify and Regress: TF Serving's older calls, which send tf.Examples to a signature made for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from cnn_app.serving.server import json_tensor
from cnn_app.serving.server.errors import invalid
from cnn_app.serving.server.service import Asked, Service
from cnn_app.serving.server.signatures import Signature
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    from cnn_app.tensors import Arrays

METHODS = {"classify": "tensorflow/serving/classify", "regress": "tensorflow/serving/regress"}


@dataclass(frozen=True)
class Given:
    signature: str
    examples: list[bytes]  # serialized


def parse(data: bytes) -> Given:
    """A :classify or :regress request."""
    found = json_tensor.parse(data)
    examples = found.get("examples")
    if not isinstance(examples, list) or not examples:
        raise invalid("When method is classify or regress, key 'examples' is expected, with a list of objects")
    context = _features(found.get("context", {}))
    return Given(json_tensor.signature_name(found), [_example(context | _features(example)) for example in examples])


async def answer(service: Service, asked: Asked, method: str, examples: list[bytes], api: str) -> dict:
    """The JSON for the examples' classes or values."""
    outputs = await run(service, asked, method, examples, api)
    if method == "regress":
        return {"results": values(outputs).tolist()}
    return {"results": [[[label, score] for label, score in row] for row in classes(outputs)]}


async def run(service: Service, asked: Asked, method: str, examples: list[bytes], api: str) -> Arrays:
    def arrays(known: Signature) -> Arrays:
        if len(known.inputs) != 1:
            raise invalid("Expected one input Tensor.")
        given = np.empty(len(examples), object)
        given[:] = examples
        return dict.fromkeys(known.inputs, given)

    return (await service.predict(asked, api, arrays, METHODS[method]))[1]


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


def _features(example) -> dict[str, tf.train.Feature]:
    if not isinstance(example, dict):
        raise invalid(f"Example must be JSON object but got {str(example)[:60]}")
    return {name: _feature(value if isinstance(value, list) else [value], name) for name, value in example.items()}


def _feature(values: list, name: str) -> tf.train.Feature:
    try:
        if all(isinstance(value, str | dict) for value in values):
            data = json_tensor.tensor(values, name, Spec("string", None)).tolist()
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=data))
        if all(isinstance(value, int) for value in values):  # true and false among them
            return tf.train.Feature(int64_list=tf.train.Int64List(value=map(int, values)))
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    except (TypeError, ValueError) as error:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {str(error)[:100]}") from error


def _example(features: dict[str, tf.train.Feature]) -> bytes:
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
