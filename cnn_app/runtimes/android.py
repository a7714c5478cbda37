"""How long one record takes on a phone: TFLite's own benchmark binary there, asked over adb, files in turns.

Binary and files lie in a folder of their own under /data/local/tmp while they run, by names of ours.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import statistics
import subprocess
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cnn_app.errors import ArtifactError, CnnAppError
from cnn_app.runtimes import kind_of

FOLDER = "/data/local/tmp"  # where a shell may run what was pushed
TURNS, RUNS, WARMUP = 3, 50, 5
SECONDS = 600.0  # for one call of adb
TIMES = re.compile(r"Init: ([\d.e+]+), First inference: ([\d.e+]+), .*Inference \(avg\): ([\d.e+]+)")  # in microseconds
ENDS = re.compile(r"count=\d+ .*\bmin=([\d.e+]+) max=([\d.e+]+)")  # of warm-up, then of the rest; not of a single run
MEMORY = re.compile(r"Memory footprint delta from the start of the tool \(MB\): init=[\d.e+]+ overall=([\d.e+]+)")


@dataclass(frozen=True)
class PhoneSpeed:
    """One record on `threads` threads of a phone; times in milliseconds."""

    path: str
    threads: int
    device: str
    mean_ms: float  # the median of the turns' means
    min_ms: float
    max_ms: float
    first_ms: float  # the first record of a fresh process
    start_ms: float  # reading the file
    memory_mib: float | None  # that the file took; None where the binary does not tell


def measure(
    paths: Iterable[str | os.PathLike[str]], tool: str | os.PathLike[str], threads: Iterable[int] = (1,),
    serial: str | None = None,
) -> list[PhoneSpeed]:  # fmt: skip
    """Every .tflite file with every number of threads, in turns.

    tool: TFLite's `benchmark_model` for the phone's processor. serial: of the phone, where adb sees several.

    Raises CnnAppError where adb or a phone is missing, ArtifactError for a file that does not run there.
    """
    paths = [Path(path) for path in paths]
    for path in paths:
        if kind_of(path) != "tflite":
            raise ArtifactError(f"{path} is no .tflite file; a phone's benchmark takes no other")
    phone = _Phone(serial)
    with phone.folder() as folder:
        phone.push(Path(tool), binary := f"{folder}/benchmark_model")
        phone.ask("shell", f"chmod 755 {binary}")
        places = [f"{folder}/{number}.tflite" for number in range(len(paths))]
        for path, place in zip(paths, places, strict=True):
            phone.push(path, place)
        cases = [(path, place, count) for path, place in zip(paths, places, strict=True) for count in threads]
        turns = [[_run(phone, binary, *case) for case in cases] for _ in range(TURNS)]
    return [_summary(str(path), count, phone.serial, several)
            for (path, _, count), several in zip(cases, zip(*turns, strict=True), strict=True)]  # fmt: skip


@dataclass(frozen=True)
class _Turn:
    """In microseconds and MiB."""

    start: float
    first: float
    mean: float
    low: float
    high: float
    memory: float | None


def _run(phone: _Phone, binary: str, path: Path, place: str, threads: int) -> _Turn:
    command = f"{binary} --graph={place} --num_threads={threads} --use_xnnpack=true --num_runs={RUNS}"
    told = phone.ask("shell", f"{command} --warmup_runs={WARMUP} 2>&1", problem=f"{path} does not run on the phone")
    times, ends, memory = TIMES.search(told), ENDS.findall(told), MEMORY.search(told)
    if not times:
        raise ArtifactError(f"{path} does not run on the phone: {_last(told)}")
    start, first, mean = map(float, times.groups())
    low, high = map(float, ends[-1]) if ends else (mean, mean)
    return _Turn(start, first, mean, low, high, float(memory[1]) if memory else None)


def _summary(path: str, threads: int, device: str, turns: tuple[_Turn, ...]) -> PhoneSpeed:
    known = [turn.memory for turn in turns if turn.memory is not None]
    return PhoneSpeed(
        path, threads, device,
        mean_ms=statistics.median(turn.mean for turn in turns) / 1e3, min_ms=min(turn.low for turn in turns) / 1e3,
        max_ms=max(turn.high for turn in turns) / 1e3, first_ms=statistics.median(turn.first for turn in turns) / 1e3,
        start_ms=statistics.median(turn.start for turn in turns) / 1e3, memory_mib=max(known, default=None),
    )  # fmt: skip


class _Phone:
    """What adb says to a phone."""

    def __init__(self, serial: str | None):
        self.adb = shutil.which("adb")
        if self.adb is None:
            raise CnnAppError("adb is not installed; install Android's platform tools to time files on a phone")
        self.serial = ""
        states = dict(re.findall(r"^(\S+)\t(\w+)", self.ask("devices"), re.MULTILINE))
        if serial is not None and serial not in states:
            raise CnnAppError(f"adb sees no device {serial!r}, but {', '.join(states) or 'none'}")
        ready = [name for name, state in states.items() if state == "device" and serial in (None, name)]
        if not ready:
            told = ", ".join(f"{name} is {state}" for name, state in states.items())
            raise CnnAppError(
                f"adb sees no device that is ready{f': {told}' if told else ''}; connect one and allow debugging"
            )
        if len(ready) > 1:
            raise CnnAppError(f"adb sees {len(ready)} devices; choose one by --serial: {', '.join(ready)}")
        self.serial = ready[0]

    def ask(self, *arguments: str, problem: str = "") -> str:
        """What adb prints. Raises CnnAppError, with `problem`, where it fails."""
        chosen = ["-s", self.serial] if self.serial else []
        try:
            done = subprocess.run(
                [self.adb, *chosen, *arguments], capture_output=True, text=True, errors="replace", timeout=SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CnnAppError(f"adb {arguments[0]} does not answer: {error}") from error
        if done.returncode:
            raise CnnAppError(f"{problem or f'adb {arguments[0]} failed'}: {_last(done.stdout + done.stderr)}")
        return done.stdout

    def push(self, path: Path, place: str) -> None:
        if not path.is_file():
            raise CnnAppError(f"{path} is no file")
        self.ask("push", str(path), place)

    @contextmanager
    def folder(self):
        """A new folder, which goes again."""
        place = f"{FOLDER}/cnn-app-{secrets.token_hex(4)}"
        self.ask("shell", f"mkdir -p {place}")
        try:
            yield place
        finally:
            self.ask("shell", f"rm -rf {place}")


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"
