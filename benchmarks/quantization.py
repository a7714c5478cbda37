"""Ways to round a network to int8, each as a file, against Keras: python benchmarks/quantization.py DIR [--data ...].

Each is calibrated on `train` of a model directory's data and asked on `test`, as `cnn-app export` does it. `moved` is
half the sum of the changes of the probabilities, mean over records: it tells files apart where few answers change.
Google's ai-edge-quantizer is measured where it is installed.
"""

import argparse
import tempfile
import time
import warnings
from functools import partial
from importlib import util
from pathlib import Path

import measure
import numpy as np

from cnn_app.cli.view import table

FEW, MANY = 200, 1000
INT8, FLOAT = "tflite-int8", "tflite-float32"


def ways(task, model, records) -> dict:
    """Name -> what writes the file at a path."""
    from cnn_app.export import tflite
    from cnn_app.export.quantization import correction, equalization, simulation
    from cnn_app.export.targets import target

    def converted(count, path):
        tflite.write(task, model, path, target(INT8), records(count))

    def simulated(parts, path):
        plain, seen = simulation.folded(model), records(MANY)
        if "equalized" in parts:
            equalization.equalize(plain, seen)
        rounding = simulation.simulated(plain, seen)
        if "rounded" in parts:
            correction.correct(plain, rounding, seen)
        tflite.write_trained(task, simulation.rangeful(plain, rounding), path)

    found = {f"{count} records": partial(converted, count) for count in (FEW, MANY)}
    for name in ("equalized", "rounded by layer", "equalized, rounded by layer"):
        found[name] = partial(simulated, name)
    if util.find_spec("ai_edge_quantizer"):
        for count in (FEW, MANY):
            found[f"ai-edge-quantizer, {count} records"] = partial(peer, task, model, records, count)
    return found


def peer(task, model, records, count, path) -> None:
    """Weights in int8 by channel, activations in int8: its recipe for static quantization."""
    from ai_edge_quantizer import quantizer, recipe

    from cnn_app.export import tflite
    from cnn_app.export.targets import target

    source = path.with_suffix(".float.tflite")
    tflite.write(task, model, source, target(FLOAT), None)
    ((name, images),) = records(count).items()
    theirs = quantizer.Quantizer(str(source), recipe.static_wi8_ai8())
    seen = theirs.calibrate({"serving_default": [{name: image[None]} for image in images]})
    theirs.quantize(seen).export_model(str(path), overwrite=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--data", help="where the model's own data lies by now")
    parser.add_argument("--data-dir", help="where TFDS sets lie")
    parser.add_argument("--most", type=int, default=2000, help="records of test")
    options = parser.parse_args()
    measure.quiet_tensorflow()
    warnings.simplefilter("ignore")
    import cnn_app
    from cnn_app import tasks
    from cnn_app.artifacts import ModelDir
    from cnn_app.export import graph, run, verification
    from cnn_app.jobs import sources
    from cnn_app.recipe import Data

    directory = ModelDir(options.directory)
    given = Data(source=options.data, directory=options.data_dir) if options.data else None
    task, dataset = sources.for_model(directory, given)
    model = cnn_app.load_model(directory.path)
    wanted = run.reference(task, model, dataset, most=options.most)
    copy, rows = graph.deployable(model), []
    (main_output,) = [name for name in wanted.outputs if name == "probabilities"]
    for name, write in ways(task, copy, partial(task.calibration, model, dataset.splits["train"])).items():
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "file.tflite"
            write(path)
            took = time.perf_counter() - started
            found = verification.compare(INT8, path, wanted, name, 0.95)
            outputs = verification.open_model(path).run(wanted.inputs)
        moved = np.abs(outputs[main_output] - wanted.outputs[main_output]).sum(-1).mean() / 2
        ends = f"{found.interval.low:+.2f} to {found.interval.high:+.2f}"
        rows.append((name, f"{found.value:.4f}", f"{found.drop:+.2f}", ends, f"{found.agreement:.4f}", f"{moved:.4f}",
                     f"{found.bytes / 1e6:.2f}", f"{took:.0f}"))  # fmt: skip
        print(*rows[-1], sep=" | ", flush=True)
    metric = tasks.main_metric(task)
    columns = ["way", f">{metric}", ">drop", "95%", ">agreement", ">moved", ">MB", ">s"]
    table(columns, rows, f"{options.directory.name}: {wanted.n} records, Keras {metric} {wanted.metrics[metric]:.4f}")


if __name__ == "__main__":
    main()
