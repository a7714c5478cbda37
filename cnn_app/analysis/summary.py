"""The networks there are, what they cost and what was published of them: `cnn-app models` and the README's table."""

from __future__ import annotations

from cnn_app import registry
from cnn_app.architectures.reference import REFERENCE
from cnn_app.errors import UnknownName, unknown


def summary(
    pattern: str = "*", task: str | None = None, max_parameters: float | None = None, max_macs: float | None = None
) -> list[dict]:
    """A dict for each network whose name matches; the limits are in millions."""
    if task is not None and task not in registry.tasks():
        raise unknown("task", task, registry.tasks())
    names = registry.names(pattern, task)
    if not names:
        raise unknown("model" if task is None else f"model for {task}", pattern, registry.names(task=task))
    rows = [_row(name) for name in names]
    limits = {"parameters": max_parameters, "macs": max_macs}
    kept = [row for row in rows if all(limit is None or row[count] <= limit * 1e6 for count, limit in limits.items())]
    if not kept:
        least = min(rows, key=lambda row: row["macs"])
        raise UnknownName(
            f"none of the {len(rows)} networks is that small: {least['name']} has {least['parameters'] / 1e6:.2f} M "
            f"parameters and {least['macs'] / 1e6:.1f} M multiply-adds; columns such as width make it smaller"
        )
    return kept


def markdown() -> str:
    """All networks as the README's table."""
    lines = [
        "| name | year | paper | input | parameters | multiply-adds | top-1 (source) |",
        "|---|---|---|---|---:|---:|---|",
    ]
    for row in summary():
        paper = row["paper"] if row["paper"][0].isalpha() else f"[{row['paper']}](https://arxiv.org/abs/{row['paper']})"
        costs = f"{row['parameters']:,} | {row['macs']:,}"
        top1 = "" if row["top1"] is None else f"{row['top1']} ({row['source']})"
        lines.append(f"| `{row['name']}` | {row['year']} | {paper} | {row['shape']} | {costs} | {top1} |")
    return "\n".join(lines)


def _row(name: str) -> dict:
    spec, figures = registry.spec(name), REFERENCE[name]
    return {
        "name": name, "year": spec.year, "paper": spec.paper, "task": spec.task, "input": spec.input,
        "shape": _shape(spec), "classes": spec.classes, "parameters": figures.parameters, "macs": figures.macs,
        "top1": figures.top1, "source": figures.source,
    }  # fmt: skip


def _shape(spec: registry.Variant) -> str:
    """224x224x3, or 64 ids."""
    return "x".join(map(str, spec.image)) if spec.input == "image" else f"{spec.length} ids"
