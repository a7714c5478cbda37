"""The networks there are, what they cost and what was published of them, as `make docs` wrote it: without Keras."""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path

from cnn_app.errors import UnknownName, unknown

FILE = Path(__file__).with_name("networks.json")


def rows() -> list[dict]:
    """Those of `summary.rows`."""
    return json.loads(FILE.read_bytes())


def listing(
    pattern: str = "*", task: str | None = None, max_parameters: float | None = None, max_macs: float | None = None
) -> list[dict]:
    """A dict for each network whose name matches; the limits are in millions."""
    whole = rows()
    tasks = sorted({row["task"] for row in whole})
    if task is not None and task not in tasks:
        raise unknown("task", task, tasks)
    of_task = [row for row in whole if task in (None, row["task"])]
    found = [row for row in of_task if fnmatch.fnmatchcase(row["name"], pattern)]
    if not found:
        kind = "model" if task is None else f"model for {task}"
        raise unknown(kind, pattern, [row["name"] for row in of_task])
    limits = {"parameters": max_parameters, "macs": max_macs}
    kept = [row for row in found if all(limit is None or row[count] <= limit * 1e6 for count, limit in limits.items())]
    if not kept:
        least = min(found, key=lambda row: row["macs"])
        raise UnknownName(
            f"none of the {len(found)} networks is that small: {least['name']} has {least['parameters'] / 1e6:.2f} M "
            f"parameters and {least['macs'] / 1e6:.1f} M multiply-adds; columns such as width make it smaller"
        )
    return kept
