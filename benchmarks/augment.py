"""How many images a second each augmentation changes, and what it costs beside a batch that is only copied.

Batches of noise go through tf.data as they do in training, with as many threads as it chooses. Time of a core is
that of all threads together, which other programs on the machine hardly change.
"""

from __future__ import annotations

import argparse
import time

import measure
import numpy as np

from cnn_app.augmentations import AUGMENTATIONS, MIXING, PRESETS
from cnn_app.cli.view import table

NONE, CLASSES = "none", 10


def competitors(side: int, batch: int, steps: int, cores: dict[str, list[float]]) -> dict:
    """Name -> a call that makes `steps` batches, and notes in `cores` how many ms of a core they took."""
    import tensorflow as tf

    from cnn_app.inputs import augment

    images = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), np.uint8)
    labels = tf.one_hot(np.arange(batch) % CLASSES, CLASSES)
    images = tf.constant(images)

    def epoch(title, names):
        def batch_of(number):
            seed = (tf.constant(0, tf.int64), number)
            changed = augment.augmented(images, seed, names)
            if set(names) & set(MIXING):
                changed, _ = augment.mixed(changed, labels, seed, names)
            return tf.identity(changed)

        batches = tf.data.Dataset.range(steps).map(batch_of, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

        def call():
            start = time.process_time()
            for _ in batches:
                pass
            cores.setdefault(title, []).append((time.process_time() - start) * 1e3)

        return call

    several = {NONE: ()} | {name: (name,) for name in AUGMENTATIONS} | PRESETS
    return {title: epoch(title, names) for title, names in several.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    measure.quiet_tensorflow()
    cores: dict[str, list[float]] = {}
    calls = competitors(options.side, options.batch, options.steps, cores)
    times = measure.medians(measure.alternately(calls, options.rounds))
    images = options.batch * options.steps
    core = {name: float(np.median(taken[1:])) / images for name, taken in cores.items()}
    rows = [(name, f"{images / ms * 1e3:,.0f}", f"{core[name]:.2f}", f"{core[name] / core[NONE]:.0f}")
            for name, ms in times.items()]  # fmt: skip
    table(["augmentation", ">images/s", ">ms of a core an image", ">times none"], rows)


if __name__ == "__main__":
    main()
