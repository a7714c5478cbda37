"""How long one record takes, in processes of their own that take turns.

Fresh processes, because a runtime sets its threads once for all, and a phone's interpreter shares one with no other.
Turns, because a machine that is busy for a second is then busy for all of them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cnn_app import systems
from cnn_app.child import Child
from cnn_app.runtimes import ISOLATED, Runtime, isolated, kind_of, open_model
from cnn_app.tensors import Arrays

WARMUP, TURNS, RUNS = 3, 8, 6  # untimed predictions, then so many turns of so many
SECONDS = 0.5  # a turn ends after so long
DAY = 86400.0  # for a turn of a file that is trusted


@dataclass(frozen=True)
class Speed:
    """One record on `threads` threads; memory is of the process with the runtime in it."""

    path: str
    threads: int
    median_ms: float
    p90_ms: float
    peak_mib: float | None  # where the system tells
    delegates: int | None = None  # XNNPACK's; None where the runtime has none
    ops_outside: dict[str, int] = field(default_factory=dict)  # operators outside them


def measure(
    paths: Iterable[str | os.PathLike[str]], threads: Iterable[int] = (1,), *, trust: bool = False
) -> list[Speed]:
    """Every artifact with every number of threads, all in turns. Raises ArtifactError for one that does not run.

    trust: without the limits of files from elsewhere.
    """
    cases = [(Path(path), count) for path in paths for count in threads]
    with ExitStack() as stack:
        workers = [stack.enter_context(_Worker(*case, trust)) for case in cases]
        times = [[time for turn in turns for time in turn] for turns in
                 zip(*([worker.ask("turn") for worker in workers] for _ in range(TURNS)), strict=True)]  # fmt: skip
        ends = [worker.ask("end") for worker in workers]
    return [
        Speed(str(path), count, *(round(float(value) * 1e3, 4) for value in np.percentile(found, [50, 90])), **end)
        for (path, count), found, end in zip(cases, times, ends, strict=True)
    ]


class _Worker:
    """A process that holds one artifact and answers words with JSON."""

    def __init__(self, path: Path, threads: int, trust: bool):
        limited = not trust and kind_of(path) in ISOLATED
        self.path, self.seconds = path, isolated.SECONDS if limited else DAY
        limit = isolated.MEMORY_BYTES if limited else None
        self.child = Child(_answering, str(path), threads, trust, memory_bytes=limit)

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *error) -> None:
        self.child.close()

    def ask(self, what: str):
        return json.loads(isolated.asked(self.child, self.path, what.encode(), self.seconds))


def _answering(path: str, threads: int, trust: bool) -> Callable[[bytes], bytes]:
    """The child's side."""
    os.environ |= dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), str(threads))
    runtime = open_model(path, threads, trust=trust)
    record = example(runtime)
    for _ in range(WARMUP):
        runtime.run(record)
    return lambda what: json.dumps(_turn(runtime, record) if what == b"turn" else _end(runtime)).encode()


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
    result = {"peak_mib": systems.peak_mib()}
    if hasattr(runtime, "coverage"):
        delegates, outside = runtime.coverage()
        result |= {"delegates": delegates, "ops_outside": dict(outside)}
    return result
