"""A network whose ReLUs pass back what is positive alone."""

import keras
import tensorflow as tf


def rectified_back(model: keras.Model, through_closed: bool) -> keras.Model:
    """A copy of `model`, likewise forwards; `through_closed`: back also where its ReLUs passed nothing."""

    def of(most: float | None):
        @tf.custom_gradient
        def relu(x):
            y = tf.nn.relu(x) if most is None else tf.clip_by_value(x, 0, most)

            def back(dy):
                passed = tf.cast(x > 0, dy.dtype) if most is None else tf.cast((x > 0) & (x < most), dy.dtype)
                return tf.nn.relu(dy) * (1.0 if through_closed else passed)

            return y, back

        return relu

    kinds = {"relu": of(None), "relu6": of(6.0)}

    def copied(layer: keras.Layer) -> keras.Layer:
        if isinstance(layer, keras.layers.ReLU) and not layer.negative_slope and not layer.threshold:
            most = None if layer.max_value is None else float(layer.max_value)
            return keras.layers.Activation(of(most), name=layer.name)
        copy = layer.__class__.from_config(layer.get_config())
        name = getattr(getattr(layer, "activation", None), "__name__", "")
        if name in kinds:
            copy.activation = kinds[name]
        return copy

    copy = keras.models.clone_model(model, clone_function=copied)
    copy.set_weights(model.get_weights())
    return copy
