"""LiteRT's CompiledModel beside its Interpreter, on one thread: the same answers, in how much time of a core?

python benchmarks/compiled_model.py FILE.tflite ... [--rounds 100]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel, CpuOptions, HardwareAccelerator, Options

from cnn_app.cli.view import table
from cnn_app.quiet import native_silence
from cnn_app.runtimes import latency, tflite
from cnn_app.tensors import Arrays

WARMUP, RECORDS = 3, 8


def interpreted(path: Path) -> Callable[[Arrays], Arrays]:
    return tflite.open_model(path, threads=1).run_one


def compiled(path: Path) -> Callable[[Arrays], Arrays]:
    """By the file's first signature; of tensors that hold numbers as they are."""
    options = Options(hardware_accelerators=HardwareAccelerator.CPU, cpu_options=CpuOptions(num_threads=1))
    with native_silence():
        model = CompiledModel.from_file(str(path), options=options)
    signature = model.get_signature_by_index(0)["key"]
    taken, given = model.get_input_tensor_details(signature), model.get_output_tensor_details(signature)
    inputs = {name: model.create_input_buffer_by_name(signature, name) for name in taken}
    outputs = {name: model.create_output_buffer_by_name(signature, name) for name in given}

    def run(record: Arrays) -> Arrays:
        for name, buffer in inputs.items():
            buffer.write(record[name])
        model.run_by_name(signature, inputs, outputs)
        return {name: buffer.read(prod(given[name]["shape"]), np.dtype(given[name]["dtype"])).reshape(
            given[name]["shape"]) for name, buffer in outputs.items()}  # fmt: skip

    return run


def timed(call: Callable) -> float:
    """ms of a core, which other programs do not lengthen."""
    start = time.process_time()
    call()
    return (time.process_time() - start) * 1e3


def compared(path: Path, rounds: int) -> tuple:
    runs = interpreted(path), compiled(path)
    record = latency.example(tflite.open_model(path, threads=1))
    rng, same = np.random.default_rng(0), True
    for _ in range(RECORDS):
        drawn = {name: rng.permuted(array.ravel()).reshape(array.shape) for name, array in record.items()}
        wanted, found = (run(drawn) for run in runs)
        same &= all(np.array_equal(array, found[name]) for name, array in wanted.items())
    times = [[timed(lambda run=run: run(record)) for run in runs] for _ in range(WARMUP + rounds)][WARMUP:]
    one, other = np.median(times, 0)
    return path.name, "yes" if same else "NO", f"{one:.2f}", f"{other:.2f}", f"{other / one:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=100)
    given = parser.parse_args()
    columns = ["file", "same answers", ">Interpreter", ">CompiledModel", ">ratio"]
    table(columns, [compared(path, given.rounds) for path in given.files], "ms of a core, medians")


if __name__ == "__main__":
    main()
