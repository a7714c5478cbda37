"""How much memory there is for data: that of the container where it has a limit, else that of the machine."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat", "total_inactive_file")
CGROUPS = (  # limit, usage, and statistics with what the kernel would give back: version 2, then version 1
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    V1,
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)


def available(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes that are free: the least of what the machine has, this process's group, and those around it."""
    free = psutil.virtual_memory().available
    for folder in _groups(root, own):
        for limit, usage, statistics, cached in CGROUPS:
            with suppress(OSError, ValueError):  # no such limit, or the word "max"
                most, used = (int((folder / name).read_text()) for name in (limit, usage))
                lines = dict(line.split() for line in (folder / statistics).read_text().splitlines())
                free = min(free, most - used + int(lines.get(cached, 0)))
    return max(0, free)


def _groups(root: Path, own: Path) -> list[Path]:
    """The folders of this process's groups; in a container the innermost is the root itself."""
    found = [root]
    with suppress(OSError, ValueError):
        for line in own.read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if kinds in ("", "memory") and path.strip("/"):
                inner = Path(path.strip("/"))
                found += [root / kinds / part for part in (inner, *inner.parents)]
    return found
