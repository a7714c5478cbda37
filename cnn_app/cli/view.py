"""What people see: progress on stderr, tables and JSON on stdout."""

import json
import os
from contextlib import contextmanager

import click

WIDTH = 160  # of tables, where neither a terminal nor COLUMNS says it
OPERATORS = 3  # kinds that are shown of those outside of delegates


def table(columns, rows, title=None):
    """Print rows of text under `columns`; one that starts with > is right-aligned."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(title=title, title_justify="left")
    for column in columns:
        grid.add_column(Text(column.lstrip(">")), justify="right" if column.startswith(">") else "left")
    for row in rows:
        grid.add_row(*(Text(str(cell)) for cell in row))
    columns = os.environ.get("COLUMNS", "")
    console = Console()  # which reads COLUMNS, too
    told = console.is_terminal or (columns.isdecimal() and int(columns) > 0)
    console.print(grid) if told else Console(width=WIDTH).print(grid)


def reports(named):
    """A line for each classification.Report."""
    rows = [(name, f"{r.top1:.4f}", f"{r.top5:.4f}", f"{r.loss:.4f}", f"{r.n:,}") for name, r in named.items()]
    table(["model", ">top-1", ">top-5", ">loss", ">images"], rows)


def echo_json(value):
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def echo(value, text, as_json):
    """One result, for a program or for a reader."""
    echo_json(value) if as_json else click.echo(text)


@contextmanager
def reading():
    """A callback for pipeline.prepare that draws a bar."""
    with _bar() as bar:
        tasks = {}

        def progress(what, done, total):
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total, note="")
            bar.update(tasks[what], completed=done)

        yield progress


@contextmanager
def counting(what, total):
    """A function that passes things on and draws a bar of how many went by."""
    with _bar() as bar:
        task = bar.add_task(what, total=total, note="")

        def count(things):
            for thing in things:
                bar.advance(task)
                yield thing

        yield count


@contextmanager
def training(epochs):
    """An engine.Watch that draws the current epoch and prints a line for each finished one."""
    from cnn_app.training.engine import Watch

    with _bar() as bar:
        whole = bar.add_task("training", total=None, note="", visible=False)  # until there is a first step

        def step(epoch, done, steps, logs):
            note = "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
            bar.update(whole, total=epochs * steps, completed=epoch * steps + done, visible=True,
                       note=f"epoch {epoch + 1}/{epochs}  {note}")  # fmt: skip

        def epoch(row):
            figures = "  ".join(f"{name} {row[name]:.4f}" for name in ("loss", "top1", "val_loss", "val_top1"))
            bar.console.print(f"epoch {row['epoch']:>3}  lr {row['lr']:.2e}  {figures}", soft_wrap=True)

        yield Watch(step, epoch)


def _bar():
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"), console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip


@contextmanager
def comparisons(as_json):
    """A callback that collects verification results and prints them at the end, also when some were refused."""
    results = []
    try:
        yield results.append
    finally:
        if as_json:
            echo_json([result.as_json() for result in results])
        elif results:
            first = results[0]
            title = f"{first.n} held-out images; Keras top-1 {first.keras_top1:.4f}; one image on one thread"
            figures = [">top-1", ">drop", ">agreement", ">max |Δp|", ">MB", ">ms", ">delegates", "outside"]
            table(["target", "strategy", *figures], map(_comparison, results), title)


def coverage(delegates, outside):
    """How much of a TFLite file runs in XNNPACK; empty cells for other runtimes."""
    kinds = sorted((outside or {}).items(), key=lambda item: -item[1])
    shown = [f"{count} {name}" for name, count in kinds[:OPERATORS]]
    more = sum(count for _, count in kinds[OPERATORS:])
    return "" if delegates is None else delegates, ", ".join(shown + [f"{more} more"] * bool(more))


def _comparison(result):
    return (
        result.target, result.strategy, f"{result.top1:.4f}", f"{result.drop:+.2f}", f"{result.agreement:.4f}",
        f"{result.max_difference:.1e}", f"{result.bytes / 1e6:.2f}", f"{result.latency_ms:.2f}",
        *coverage(result.delegates, result.outside),
    )  # fmt: skip
