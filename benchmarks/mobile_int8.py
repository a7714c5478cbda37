"""Int8 files for phones: latency on one thread, size and delegates, against another TFLite file.

The networks have random weights and are calibrated with smooth noise; that changes neither time nor size.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import measure
import numpy as np

from cnn_app.cli.view import table

NETWORKS = ("mobilenet_v2", "shufflenet_v1")  # both 1.0x; the second with 3 groups
KINDS = ("tflite-int8", "tflite-float32")
PEER = "peer"


def smooth_noise(count: int, side: int) -> np.ndarray:
    """Images with soft shapes of every colour: noise of 8x8, enlarged. uint8 (count, side, side, 3)."""
    import tensorflow as tf

    noise = np.random.default_rng(0).uniform(0, 255, (count, 8, 8, 3))
    return np.round(np.clip(tf.image.resize(noise, (side, side), "bicubic"), 0, 255)).astype(np.uint8)


def write_all(folder: Path, side: int, calibration: int) -> dict[str, Path]:
    """Every network in every kind: what it is -> its file."""
    import cnn_app
    from cnn_app.export import tflite
    from cnn_app.export.graph import deployable
    from cnn_app.export.targets import target
    from cnn_app.jobs.opened import task_of

    images, files = {"image": smooth_noise(calibration, side)}, {}
    for name in NETWORKS:
        model = deployable(cnn_app.create_model(name, image=(side, side, 3)))
        for kind in KINDS:
            path = folder / f"{name}-{kind}.tflite"
            tflite.write(task_of(model), model, path, target(kind), images if target(kind).calibrated else None)
            files[f"{name} {kind}"] = path
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="a TFLite file to compare with; one image in")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--calibration", type=int, default=20, help="images")
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    if options.peer and not options.peer.is_file():
        parser.error(f"no file at {options.peer}")
    measure.quiet_tensorflow()
    from cnn_app.runtimes import tflite

    with tempfile.TemporaryDirectory() as folder:
        files = write_all(Path(folder), options.side, options.calibration)
        files |= {PEER: options.peer} if options.peer else {}
        runtimes = {name: tflite.open_model(path, threads=1) for name, path in files.items()}
        sizes = {name: path.stat().st_size for name, path in files.items()}
    calls = {name: _one_image(runtime) for name, runtime in runtimes.items()}
    times = measure.alternately(calls, options.rounds)
    middle, rows = measure.medians(times), []
    for name, runtime in runtimes.items():
        delegates, outside = runtime.coverage()
        rows.append((
            name, f"{middle[name]:.2f}", f"{np.percentile(times[name], 90):.2f}", f"{sizes[name]:,}",
            *(f"{part[name] / part[PEER]:.2f}" if PEER in part else "" for part in (middle, sizes)),
            delegates, ", ".join(f"{count} {kind}" for kind, count in outside.items()),
        ))  # fmt: skip
    columns = ["file", ">ms", ">p90", ">bytes", ">ms / peer", ">bytes / peer", ">delegates", "outside them"]
    table(columns, rows, f"one image of {options.side}x{options.side} on one thread, median of {options.rounds}")


def _one_image(runtime):
    ((name, spec),) = runtime.inputs.items()
    record = {name: smooth_noise(1, spec.shape[1])}
    return lambda: runtime.run_one(record)


if __name__ == "__main__":
    main()
