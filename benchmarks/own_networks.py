"""Networks of keras.applications through the whole chain: python benchmarks/own_networks.py FOLDER [NAME ...].

Each is built for the ten digits, adopted, trained for some epochs, and exported to every format with a budget of one
point; `verify` then asks every file for its golden answers. Prints a table. FOLDER holds the model directories.
"""

import argparse
import sys
import warnings
from pathlib import Path

import keras

import cnn_app
from cnn_app.errors import ExportError
from cnn_app.export import golden
from cnn_app.recipe import Export, Schedule, Transfer

NETWORKS = {  # name -> the side of its images; each scales pixels itself, but for those in PIXELS
    "EfficientNetV2B0": 64, "MobileNetV3Small": 64, "ConvNeXtTiny": 64, "DenseNet121": 64, "Xception": 72,
    "NASNetMobile": 64,
}  # fmt: skip
PIXELS = {"DenseNet121": "imagenet", "Xception": "-1..1", "NASNetMobile": "-1..1"}
TARGETS = ("saved_model", "tflite-float32", "tflite-float16", "tflite-int8", "onnx")
SCHEDULE = Schedule(epochs=3, batch=16, lr=0.001, warmup=1.0, augment=(), label_smoothing=0.0)


def row(name: str, folder: Path) -> None:
    side, directory = NETWORKS[name], folder / name
    if not (directory / "model.keras").exists():
        keras.utils.set_random_seed(0)
        theirs = getattr(keras.applications, name)(weights=None, input_shape=(side, side, 3), classes=10)
        raw = folder / f"{name}-raw"
        cnn_app.adopt(theirs, [str(digit) for digit in range(10)], raw, pixels=PIXELS.get(name))
        cnn_app.finetune(raw, "digits", directory, schedule=SCHEDULE, transfer=Transfer(train_batch_norm=True))
    tried, refused = [], ""
    try:
        cnn_app.export(directory, Export(targets=TARGETS, max_drop=1.0), tell=tried.append, force=True)
    except ExportError as error:
        refused = str(error)
    last = {result.target: result for result in tried}
    floats = [found for target, found in last.items() if target in TARGETS and target != "tflite-int8"]
    lowest, furthest = min(found.agreement for found in floats), max(found.max_difference for found in floats)
    integers = [found for found in tried if found.target in ("tflite-int8", "tflite-int16x8")]
    best = integers[-1] if not refused else min(integers, key=lambda found: found.drop)
    speed = best.speed
    outside = ", ".join(f"{count} {kind}" for kind, count in speed.ops_outside.items()) if speed else "refused"
    passed = all(golden.check(file).passed for file in files(directory))
    print(f"| {name} | {floats[0].keras_value:.4f} of {floats[0].n} | {lowest:.4f} | {furthest:.0e} | {best.target} by "
          f"{best.strategy} | {best.drop:+.2f} | {speed.delegates if speed else ''} | {outside} | "
          f"{'yes' if passed else 'no'} |", flush=True)  # fmt: skip
    if refused:
        print(refused, file=sys.stderr)


def files(directory: Path) -> list[Path]:
    found = [*directory.glob("mobile/*.tflite"), *directory.glob("onnx/*.onnx"), *directory.glob("serving/*")]
    return [path for path in found if path.suffix or (path / "saved_model.pb").exists()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=list(NETWORKS), metavar="NAME")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(
        "| network | top-1 | floats agree | off by | integers | drop | delegates | operators outside | golden answers |"
    )
    print("|---|---:|---:|---:|---|---:|---:|---|---|")
    for name in options.names:
        row(name, options.folder)


if __name__ == "__main__":
    main()
