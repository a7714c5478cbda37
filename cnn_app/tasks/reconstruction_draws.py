"""A variational autoencoder in Keras with a draw from each code: the evidence lower bound is a mean over draws."""

from __future__ import annotations

import zlib

import keras
import numpy as np

from cnn_app.heads import CODE, MAIN
from cnn_app.heads.reconstruction import DECODER, SPREAD, is_variational
from cnn_app.runtimes import Runtime, in_batches
from cnn_app.runtimes.keras_model import KerasRuntime
from cnn_app.tensors import Arrays

DRAWN = "drawn"


class Drawing:
    """A runtime that gives `log_variance` (n, code) and the logits `drawn` (n, h, w, c) of one draw as well.

    The noise is a function of the pixels, so that the same images are measured alike at every epoch and in every run.
    """

    def __init__(self, runtime: KerasRuntime):
        model = runtime.model
        spread = {SPREAD: model.get_layer(SPREAD).output}
        self.runtime = KerasRuntime(keras.Model(model.input, model.output | spread), runtime.about, runtime.path)
        self.inputs, self.outputs = self.runtime.inputs, self.runtime.outputs
        self.about, self.path = runtime.about, runtime.path
        self.decoder = keras.Model(model.get_layer(DECODER).input, model.get_layer(MAIN).output)

    def run(self, arrays: Arrays) -> Arrays:
        return in_batches(self._run, arrays)

    def _run(self, arrays: Arrays) -> Arrays:
        found = self.runtime.run(arrays)
        (pixels,) = arrays.values()
        random = np.random.default_rng(zlib.crc32(np.ascontiguousarray(pixels)))
        noise = random.standard_normal(found[CODE].shape, np.float32)
        codes = found[CODE] + np.exp(found[SPREAD] / 2) * noise
        return found | {DRAWN: np.asarray(self.decoder.predict_on_batch(codes))}


def drawing(runtime: Runtime) -> Runtime:
    """`runtime` with draws, where it has distributions to draw from: files have means alone."""
    if isinstance(runtime, KerasRuntime) and is_variational(runtime.model):
        return Drawing(runtime)
    return runtime
