"""How kernels start that are to interpolate, or to pass on what they take."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("cnn_app")
class Bilinear(keras.initializers.Initializer):
    """Kernels of transposed convolutions (k, k, out, in) that interpolate each channel bilinearly (arXiv:1411.4038)."""

    def __call__(self, shape, dtype=None):
        side, _, filters, width = shape
        factor = (side + 1) // 2
        center = factor - 1 if side % 2 else factor - 0.5
        tent = 1 - np.abs(np.arange(side) - center) / factor
        kernel = np.outer(tent, tent)[:, :, None, None] * np.eye(filters, width)
        return ops.convert_to_tensor(kernel.astype(np.float32), dtype)


@keras.saving.register_keras_serializable("cnn_app")
class NestedIdentity(keras.initializers.Initializer):
    """Kernels (k, k, in, out) that pass each of `classes` maps on, whatever multiple of them goes in and comes out.

    arXiv:1511.07122, equations 4 and 5: classes / out between channels of one class, at the middle. `noise`, of normal
    deviates beside these, is in units of that and tells channels of one class apart.
    """

    def __init__(self, classes: int, noise: float = 0.0):
        self.classes, self.noise = classes, noise

    def __call__(self, shape, dtype=None):
        height, width, incoming, filters = shape
        of_class = [np.arange(count) * self.classes // count for count in (incoming, filters)]
        value = self.classes / filters
        kernel = np.zeros(shape, np.float32)
        kernel[height // 2, width // 2] = value * (of_class[0][:, None] == of_class[1])
        if not self.noise:
            return ops.convert_to_tensor(kernel, dtype)
        deviates = keras.initializers.RandomNormal(0.0, self.noise * value)(shape, dtype)
        return ops.where(ops.convert_to_tensor(kernel > 0), ops.convert_to_tensor(kernel, dtype), deviates)

    def get_config(self):
        return {"classes": self.classes, "noise": self.noise}
