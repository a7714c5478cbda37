"""Requests that TF Serving sends itself before a version takes its first from outside: lazy parts are ready by then.

Format: https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cnn_app.inputs import Input
from cnn_app.names import FAMILIARITY, FEATURES
from cnn_app.serving import store
from cnn_app.tensors import Arrays

BATCHES = (1, 8)  # one record, and as a server gathers them


def write(path: Path, input: Input, records: Arrays, familiar: bool) -> bool:
    """Requests for every signature of the SavedModel at `path`, made of the first of `records`.

    familiar: whether it knows what is unlike its training data.
    False where tensorflow-serving-api is not installed, and nothing was written.
    """
    try:
        from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
    except ImportError:
        return False
    import tensorflow as tf

    (path / store.WARMUP).parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path / store.WARMUP)) as file:
        for signature, tensors in requests(input, records, familiar):
            log = PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = signature
            for name, value in tensors.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            file.write(log.SerializeToString())
    return True


def requests(input: Input, records: Arrays, familiar: bool) -> Iterator[tuple[str, Arrays]]:
    """Signature and inputs, in every size of BATCHES."""
    for n in BATCHES:
        batch = {name: array[:n] for name, array in records.items()}
        count = len(next(iter(batch.values())))
        rows = [{name: array[i] for name, array in batch.items()} for i in range(count)]
        for signature, specs, _ in input.signatures():
            if signature == input.encoded:
                encoded = {signature: np.array([input.encode(row) for row in rows], object)}
                yield signature, encoded
                if familiar:
                    yield f"{signature}_{FAMILIARITY}", encoded
            else:
                yield signature, {name: batch[name].astype(spec.dtype) for name, spec in specs.items()}
        yield FEATURES, batch
        if familiar:
            yield FAMILIARITY, batch
