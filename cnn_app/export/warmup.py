"""Requests that TF Serving sends itself before a version takes its first from outside: lazy parts are ready by then.

Format: https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cnn_app import names
from cnn_app.serving import store

BATCHES = (1, 8)  # one image, and as a server gathers them


def write(path: Path, pixels: np.ndarray) -> bool:
    """Requests for every signature of the SavedModel at `path`, made of the first of `pixels`, uint8 (n, H, W, C).

    False where tensorflow-serving-api is not installed, and nothing was written.
    """
    try:
        from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
    except ImportError:
        return False
    import tensorflow as tf

    (path / store.WARMUP).parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path / store.WARMUP)) as file:
        for signature, name, value in requests(pixels):
            log = PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = signature
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            file.write(log.SerializeToString())
    return True


def requests(pixels: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """(signature, input, value) in every size of BATCHES."""
    import tensorflow as tf

    for n in BATCHES:
        batch = pixels[:n]
        files = np.array([tf.io.encode_jpeg(image).numpy() for image in batch], object)
        yield names.DEFAULT, "image", batch
        yield names.FLOAT_PIXELS, "image", batch.astype(np.float32)
        yield names.IMAGE_BYTES, names.IMAGE_BYTES, files
        yield names.FEATURES, "image", batch
