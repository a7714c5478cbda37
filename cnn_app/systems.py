"""What Linux, macOS and Windows do each in a way of its own; nothing else here asks which one it is."""

from __future__ import annotations

import io
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

resource: Any
try:
    import resource
except ImportError:  # Windows
    resource = None

WINDOWS = os.name == "nt"
STATUS = Path("/proc/self/status")
MAXRSS_BYTES = 1 if sys.platform == "darwin" else 2**10  # the unit of getrusage
STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
# Windows lets others take a port with SO_REUSEADDR on it while it is held.
REUSE = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
UNIX: Any = getattr(socket, "AF_UNIX", None)  # which Python on Windows lacks


def peak_mib() -> float | None:
    """The most memory that this process ever held; None where nothing tells."""
    with suppress(OSError, StopIteration):  # getrusage would start from what its parent held
        line = next(line for line in STATUS.read_text("ascii").splitlines() if line.startswith("VmHWM:"))
        return round(int(line.split()[1]) / 1024, 1)
    if resource:
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_BYTES / 2**20, 1)
    import psutil

    peak = getattr(psutil.Process().memory_info(), "peak_wset", None)  # Windows's
    return None if peak is None else round(peak / 2**20, 1)


def limit_memory(more: int | None) -> None:
    """Bytes of data beyond what this process holds, where there are such limits; and no core dump.

    Data, unlike the address space, leaves out what is mapped from files or only reserved.
    """
    if not resource:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):  # no /proc, no limit
        if more is not None:
            held = int(Path("/proc/self/statm").read_text("ascii").split()[5]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_DATA, (held + more,) * 2)


def on_stop(loop: AbstractEventLoop, stop: Callable[[], Any]) -> None:
    """`stop` runs in the loop when the process is told to end."""
    for number in STOPS:
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))


def nice(by: int) -> None:
    """This thread alone, so only on Linux, where each has a priority of its own."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), by)


def flush(file: Path) -> None:
    """Bring it to the disk."""
    with file.open("r+b" if WINDOWS else "rb") as stream:  # Windows flushes what may be written
        os.fsync(stream.fileno())


def cache() -> Path:
    """Where what can be made again is kept: $CNN_APP_CACHE, or cnn-app in the user's cache directory."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("CNN_APP_CACHE") or Path(base) / "cnn-app")


def open_to_others(mode: int) -> bool:
    """Of a file; Windows has other rights than a mode, and makes one up."""
    return not WINDOWS and bool(mode & 0o077)


def write_utf8(*streams: Any) -> None:
    """As elsewhere: the code pages of Windows's pipes lack characters of our tables and of people's labels."""
    for stream in streams:
        if WINDOWS and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8")
