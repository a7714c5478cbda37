"""How much memory there is for data: that of the container where it has a limit, else that of the machine."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

CGROUPS = (  # limit, usage, and statistics with what the kernel would give back: version 2, then version 1
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)


def available(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that are free."""
    free = psutil.virtual_memory().available
    for limit, usage, statistics, cached in CGROUPS:
        with suppress(OSError, ValueError):  # no such limit, or the word "max"
            most, used = (int((root / name).read_text()) for name in (limit, usage))
            lines = dict(line.split() for line in (root / statistics).read_text().splitlines())
            return max(0, min(free, most - used + int(lines.get(cached, 0))))
    return free
