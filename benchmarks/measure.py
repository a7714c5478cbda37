"""What the benchmarks share: competitors are timed in turns, so that a busy moment of the machine meets all of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

import numpy as np

from cnn_app.quiet import native_silence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
PATIENCE = 8.0  # seconds; a competitor that took so long in all is not called again


def quiet_tensorflow():
    """TensorFlow, after its notes about devices."""
    with native_silence():
        import tensorflow as tf

        tf.config.list_physical_devices()
    tf.get_logger().setLevel("ERROR")
    return tf


def alternately(competitors: Mapping, rounds: int, few: Mapping[str, int] | None = None) -> dict[str, np.ndarray]:
    """Name -> its times in ms, after one untimed call that traces and compiles.

    competitors: name -> a call without arguments. One that fails is reported and left out of the result.
    few: how often the slow ones are called at most.
    """
    times: dict[str, list[float]] = {}
    for name, call in competitors.items():
        try:
            with native_silence():
                call()
            times[name] = []
        except Exception as error:  # of any library; that a competitor lacks a kernel is a result too
            print(f"{name} cannot run: {type(error).__name__}")
    for turn in range(rounds):
        for name, taken in times.items():
            if turn < (few or {}).get(name, rounds) and sum(taken) < PATIENCE * 1e3:
                time.sleep(0.005)  # until the threads of the one before sleep
                taken.append(timed(competitors[name]))
    return {name: np.array(taken) for name, taken in times.items()}


def medians(times: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {name: float(np.median(taken)) for name, taken in times.items()}


def timed(call: Callable) -> float:
    """How many ms a call takes."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def digits(value: float) -> str:
    """Three digits or so."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def gradient_step(model, batch: int) -> Callable:
    """A call that runs a Keras model forward and backward, down to its weights and its input."""
    import tensorflow as tf

    x = tf.random.normal((batch, *model.input_shape[1:]))
    upstream = tf.random.normal((batch, *model.output_shape[1:]))

    @tf.function
    def step(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = model(x, training=True)
        return tape.gradient(y, [x, *(weight.value for weight in model.trainable_weights)], upstream)

    return lambda: step(x, upstream)
