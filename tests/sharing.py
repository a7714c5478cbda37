"""Losses of twenty steps, on one device and on two: `python sharing.py FOLDER`, on whatever backend there is."""

import json
import os
import sys
from pathlib import Path

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"  # of JAX

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)

import stepping

from cnn_app.errors import TrainingError
from cnn_app.training.step import devices

if __name__ == "__main__":
    both = devices.chosen("2")
    assert both == devices.chosen("all") == devices.chosen("0,1") and len(both) == 2 and devices.chosen("1") == ()
    try:
        devices.chosen("3")
    except TrainingError as error:
        refused = str(error)
    folder = Path(sys.argv[1])
    runs = {
        name: [stepping.losses(folder, steps=20, devices=places, **changes) for places in ((), both)]
        for name, changes in {"plain": {}, "clipped": {"clip": 0.5}, "averaged": {"ema": 0.9}}.items()
    }
    print(json.dumps({"refused": refused, "runs": runs}))
