"""Signals end a run between two steps, when its state can be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cnn_app.errors import TrainingError


class Stopped(TrainingError):
    """A signal ended the run; its state is saved."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM end up in the list; the second one ends the process as usual."""
    stopped: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number, frame):
        stopped.append(number)
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, stop)
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stopped_at(step: int, stopped: list[int]) -> Stopped:
    told = f"stopped after step {step}; the run is saved, go on with the same command and --resume"
    return Stopped(told, stopped[0])
