"""Where the places of a map lie."""

import keras
import numpy as np
from keras import ops

HALF = 0.25  # of the image's side: half of what a box has before anything is learned


@keras.saving.register_keras_serializable("cnn_app")
class AroundPlaces(keras.layers.Layer):
    """Offsets (N, h, w, 4) -> boxes x1, y1, x2, y2 around the middle of each place, as shares of the map's sides."""

    def call(self, x):
        _, high, wide, _ = x.shape
        y, x_ = np.meshgrid((np.arange(high) + 0.5) / high, (np.arange(wide) + 0.5) / wide, indexing="ij")
        boxes = np.stack([x_ - HALF, y - HALF, x_ + HALF, y + HALF], -1)
        return x + ops.convert_to_tensor(boxes[None], x.dtype)

    def compute_output_shape(self, shape):
        return shape
