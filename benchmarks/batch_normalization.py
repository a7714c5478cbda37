"""A training step through batch normalization and ReLU: FusedBatchNormalization against Keras's own layer."""

from __future__ import annotations

import argparse

import measure

from cnn_app.cli.view import table

SHAPES = ((128, 28, 28, 16), (16, 56, 56, 64), (16, 28, 28, 256), (32, 8, 8, 120))


def step_through(kind, shape):
    import keras

    inputs = keras.Input(shape[1:])
    return measure.gradient_step(keras.Model(inputs, keras.layers.ReLU()(kind()(inputs))), shape[0])


def main(rounds: int) -> None:
    measure.quiet_tensorflow()
    import keras

    from cnn_app.layers import FusedBatchNormalization

    rows = []
    for shape in SHAPES:
        kinds = {"ours": FusedBatchNormalization, "Keras": keras.layers.BatchNormalization}
        calls = {name: step_through(kind, shape) for name, kind in kinds.items()}
        times = measure.medians(measure.alternately(calls, rounds))
        ratio = f"{times['Keras'] / times['ours']:.1f}"
        rows.append(("x".join(map(str, shape)), measure.digits(times["ours"]), measure.digits(times["Keras"]), ratio))
    table(["shape", ">ours, ms", ">Keras, ms", ">Keras / ours"], rows, "forward and backward, medians")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    main(parser.parse_args().rounds)
