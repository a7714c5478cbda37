"""What stands between the layers of others' networks."""

import keras


@keras.saving.register_keras_serializable("cnn_app")
class Computed(keras.Layer):
    """An operation of keras.ops, such as the sum of a tensor and a number, as a layer: exports go layer by layer.

    constants: its arguments that are no tensors, by their places. options: those by name. apart: whether what the layer
    takes is a list of several arguments; else it is one, be it a list of tensors.
    """

    def __init__(self, operation, constants=None, options=None, apart=False, **base):
        super().__init__(**base)
        assert type(operation).__module__.startswith("keras."), f"{type(operation)} is none of Keras's operations"
        self.operation, self.options, self.apart = operation, options or {}, apart
        self.constants = {int(place): value for place, value in (constants or {}).items()}

    def call(self, given):
        taken = list(given) if self.apart else [given]
        for place in sorted(self.constants):
            taken.insert(place, self.constants[place])
        return self.operation(*taken, **self.options)

    def get_config(self):
        held = {"operation": self.operation, "options": self.options, "constants": self.constants}
        own = super().get_config() | {"apart": self.apart}
        return own | {name: keras.saving.serialize_keras_object(value) for name, value in held.items()}

    @classmethod
    def from_config(cls, config):
        held = {
            name: keras.saving.deserialize_keras_object(config[name]) for name in ("operation", "options", "constants")
        }
        return cls(**config | held)
