"""How long one record takes, in processes of their own that take turns.

Fresh processes, because a runtime sets its threads once for all, and a phone's interpreter shares one with no other.
Turns, because a machine that is busy for a second is then busy for all of them.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cnn_app.errors import ArtifactError, CnnAppError
from cnn_app.runtimes import Runtime, open_model
from cnn_app.tensors import Arrays

WARMUP, TURNS, RUNS = 3, 8, 6  # untimed predictions, then so many turns of so many
SECONDS = 0.5  # a turn ends after so long


@dataclass(frozen=True)
class Speed:
    """One record on `threads` threads; memory is of the process with the runtime in it."""

    path: str
    threads: int
    median_ms: float
    p90_ms: float
    peak_mib: float
    delegates: int | None = None  # XNNPACK's; None where the runtime has none
    ops_outside: dict[str, int] = field(default_factory=dict)  # operators outside them


def measure(paths: Iterable[str | os.PathLike[str]], threads: Iterable[int] = (1,)) -> list[Speed]:
    """Every artifact with every number of threads, all in turns. Raises ArtifactError for one that does not run."""
    cases = [(Path(path), count) for path in paths for count in threads]
    with ExitStack() as stack:
        workers = [stack.enter_context(_Worker(*case)) for case in cases]
        times = [[time for turn in turns for time in turn] for turns in
                 zip(*([worker.ask("turn") for worker in workers] for _ in range(TURNS)), strict=True)]  # fmt: skip
        ends = [worker.ask("end") for worker in workers]
    return [
        Speed(str(path), count, *(round(float(value) * 1e3, 4) for value in np.percentile(found, [50, 90])), **end)
        for (path, count), found, end in zip(cases, times, ends, strict=True)
    ]


class _Worker:
    """A process that holds one artifact and answers lines on standard input with lines of JSON."""

    def __init__(self, path: Path, threads: int):
        self.path = path
        limits = dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), str(threads))
        command = [sys.executable, "-m", "cnn_app.runtimes.latency", str(path), str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, env=os.environ | limits)  # fmt: skip

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *error) -> None:
        self.process.kill()
        self.process.communicate()

    def ask(self, what: str):
        try:
            self.process.stdin.write(f"{what}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # its last words say why
        line = self.process.stdout.readline()
        if not line:
            last = (self.process.stderr.read().strip().splitlines() or ["it ended without a word"])[-1]
            raise ArtifactError(f"cannot run {self.path}: {last}")
        answer = json.loads(line)
        if isinstance(answer, dict) and "error" in answer:
            raise ArtifactError(answer["error"])
        return answer


def main(path: Path, threads: int) -> None:
    try:
        _answer(path, threads)
    except CnnAppError as error:
        print(json.dumps({"error": str(error)}), flush=True)


def _answer(path: Path, threads: int) -> None:
    runtime = open_model(path, threads)
    record = example(runtime)
    for _ in range(WARMUP):
        runtime.run(record)
    for line in sys.stdin:
        answer = _turn(runtime, record) if line == "turn\n" else _end(runtime)
        print(json.dumps(answer), flush=True)


def example(runtime: Runtime) -> Arrays:
    """One record of what a runtime takes: random pixels, and the first of whatever integers number."""
    random = np.random.default_rng(0)
    return {name: random.integers(0, 256, [side or 1 for side in spec.shape]).astype(spec.dtype)
            if len(spec.shape) == 4 else np.zeros([side or 1 for side in spec.shape], spec.dtype)
            for name, spec in runtime.inputs.items()}  # fmt: skip


def _turn(runtime, record) -> list[float]:
    times, start = [], time.perf_counter()
    while len(times) < RUNS and (not times or time.perf_counter() - start < SECONDS):
        before = time.perf_counter()
        runtime.run(record)
        times.append(time.perf_counter() - before)
    return times


def _end(runtime) -> dict:
    result = {"peak_mib": _peak_mib()}
    if hasattr(runtime, "coverage"):
        delegates, outside = runtime.coverage()
        result |= {"delegates": delegates, "ops_outside": dict(outside)}
    return result


def _peak_mib() -> float:
    """The most memory that this process ever held; getrusage would start from what its parent held."""
    try:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
        return round(int(line.split()[1]) / 1024, 1)
    except (OSError, StopIteration):
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
