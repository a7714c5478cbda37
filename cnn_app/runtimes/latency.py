"""How long one picture takes on one thread, in a process of its own: `python -m cnn_app.runtimes.latency ARTIFACT`.

A fresh process, because TensorFlow's threads are set once for all, and a phone's interpreter never shares one with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from cnn_app.errors import ArtifactError
from cnn_app.runtimes import open_model

WARMUP, RUNS, SECONDS = 3, 50, 3.0  # at most so many runs, and so long


def measure(path: Path) -> dict:
    """median_ms and p90_ms of one picture on one thread; for TFLite also delegates and the operators outside them."""
    threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "cnn_app.runtimes.latency", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | threads)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise ArtifactError(f"cannot run {path}: {last}")
    return json.loads(done.stdout.splitlines()[-1])


def main(path: Path) -> dict:
    runtime = open_model(path, threads=1)
    picture = np.random.default_rng(0).integers(0, 256, (1, *runtime.image)).astype(np.uint8)
    times, start = [], time.perf_counter()
    for run in range(WARMUP + RUNS):
        before = time.perf_counter()
        runtime.predict(picture)
        times.append(time.perf_counter() - before)
        if run > WARMUP and time.perf_counter() - start > SECONDS:
            break
    median, p90 = np.percentile(times[WARMUP:], [50, 90]) * 1e3
    result = {"median_ms": round(float(median), 4), "p90_ms": round(float(p90), 4)}
    if hasattr(runtime, "coverage"):
        delegates, outside = runtime.coverage()
        result |= {"delegates": delegates, "outside": dict(outside)}
    return result


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
