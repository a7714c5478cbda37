"""What people see: progress on stderr, tables and JSON on stdout."""

import json
import os
from contextlib import contextmanager

import click

from cnn_app.errors import OBEYED, printable

WIDTH = 160  # of tables, where neither a terminal nor COLUMNS says it
OPERATORS = 3  # kinds that are shown of those outside of delegates


def table(columns, rows, title=None):
    """Print rows of text under `columns`; one that starts with > is right-aligned."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(title=title and Text(printable(title)), title_justify="left")
    for column in columns:
        grid.add_column(Text(printable(column.lstrip(">"))), justify="right" if column.startswith(">") else "left")
    for row in rows:
        grid.add_row(*(Text(printable(str(cell))) for cell in row))
    columns = os.environ.get("COLUMNS", "")
    console = Console()  # which reads COLUMNS, too
    told = console.is_terminal or (columns.isdecimal() and int(columns) > 0)
    console.print(grid) if told else Console(width=WIDTH).print(grid)


def measured(found):
    """A line for each report of an evaluation.Measured, then what the task shows beyond them."""
    from cnn_app.data.dataset import called

    titles = found.task.titles
    reports = found.reports | ({"ensemble": found.ensemble} if found.ensemble else {})
    names = [name for name in titles if name in found.report.metrics]
    rows = [(path, *(f"{report.metrics[name]:.4f}" for name in names), f"{report.n:,}")
            for path, report in reports.items()]  # fmt: skip
    told = called(found.figures) if found.figures else None
    table(["model", *(f">{titles[name]}" for name in names), f">{found.task.input.plural}"], rows, told)
    if found.resized:
        say(f"images brought to the network's size by {found.resized}, which is not the model's own way")
    for columns, lines in found.report.tables():
        table(columns, lines)


def echo_json(value):
    text = json.dumps(value, ensure_ascii=False, indent=2)
    click.echo(OBEYED.sub(lambda found: json.dumps(found[0])[1:-1], text))  # the same JSON


def say(text, err=False):
    """A line for a reader, whose terminal obeys nothing in it."""
    click.echo(printable(text), err=err)


def echo(value, text, as_json):
    """One result, for a program or for a reader."""
    echo_json(value) if as_json else say(text)


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
def rated(what, plural):
    """A callback (done, total, a second) that draws a bar."""
    with _bar() as bar:
        task = bar.add_task(what, total=None, note="")

        def progress(done, total, rate):
            bar.update(task, completed=done, total=total, note=f"{rate:,.1f} {plural}/s")

        yield progress


@contextmanager
def training(epochs, batch=0, plural=""):
    """An engine.Watch that draws the current epoch and prints a line for each finished one.

    batch, plural: how many of what a step takes, whose speed is shown.
    """
    from cnn_app.training.engine import Watch

    with _bar() as bar:
        whole = bar.add_task("training", total=None, note="", visible=False)  # until there is a first step

        def step(epoch, done, steps, logs):
            speed = bar.tasks[whole].speed
            told = [f"{batch * speed:,.0f} {plural}/s"] if batch and speed else []
            note = "  ".join([*told, *(f"{name} {value:.4f}" for name, value in logs.items())])
            bar.update(whole, total=epochs * steps, completed=epoch * steps + done, visible=True,
                       note=f"epoch {epoch + 1}/{epochs}  {note}")  # fmt: skip

        def epoch(row):
            names = [name for name in row if name not in ("epoch", "step", "lr") and not name.startswith("train_")]
            metrics = "  ".join(f"{name} {row[name]:.4f}" for name in names)
            bar.console.print(f"epoch {row['epoch']:>3}  lr {row['lr']:.2e}  {metrics}", soft_wrap=True)

        def tell(line):
            bar.console.print(line, soft_wrap=True, markup=False, highlight=False)

        yield Watch(step, epoch, tell)


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
            from cnn_app.data.dataset import called

            first = next((result for result in results if result.interval), results[0])
            metric = first.title
            held = f"records of {called(first.figures)}" if first.figures else "held-out records"
            title = f"{first.n} {held}; Keras {metric} {first.keras_value:.4f}; one record on one thread"
            confidence = f"{first.interval.confidence:.0%}" if first.interval else ""
            numbers = [">on val", f">{metric}", ">drop", confidence, ">agreement", ">max |Δ|", ">MB", ">ms",
                       ">delegates", "ops outside"]  # fmt: skip
            table(["target", "strategy", *numbers], map(_comparison, results), title)


def speeds(found, as_json):
    """Of artifacts here."""
    columns = (">threads", ">median ms", ">p90 ms", ">ratio", ">MB", ">peak MiB", ">delegates", "ops outside")
    first = found[0].median_ms
    _timed(found, as_json, columns, lambda speed, size: (
        speed.threads, f"{speed.median_ms:.2f}", f"{speed.p90_ms:.2f}", f"{speed.median_ms / first:.2f}", size,
        "" if speed.peak_mib is None else f"{speed.peak_mib:.0f}", *coverage(speed),
    ))  # fmt: skip


def phone_speeds(found, as_json):
    """Of files on a phone."""
    columns = (">threads", ">mean ms", ">min ms", ">max ms", ">ratio", ">MB", ">memory MiB", ">first ms", ">start ms")
    first = found[0].mean_ms
    _timed(found, as_json, columns, lambda speed, size: (
        speed.threads, f"{speed.mean_ms:.2f}", f"{speed.min_ms:.2f}", f"{speed.max_ms:.2f}",
        f"{speed.mean_ms / first:.2f}", size, "" if speed.memory_mib is None else f"{speed.memory_mib:.1f}",
        f"{speed.first_ms:.2f}", f"{speed.start_ms:.2f}",
    ), f"on {found[0].device}")  # fmt: skip


def _timed(found, as_json, columns, row, title=None):
    """row(speed, megabytes) -> cells behind the path."""
    from dataclasses import asdict
    from pathlib import Path

    from cnn_app.artifacts import size_bytes

    sizes = {speed.path: size_bytes(Path(speed.path)) for speed in found}
    if as_json:
        return echo_json([asdict(speed) | {"bytes": sizes[speed.path]} for speed in found])
    rows = [(speed.path, *row(speed, f"{sizes[speed.path] / 1e6:.2f}")) for speed in found]
    table(["artifact", *columns], rows, title)


def coverage(speed):
    """How much of a TFLite file runs in XNNPACK; empty cells for other runtimes."""
    kinds = sorted((speed.ops_outside or {}).items(), key=lambda item: -item[1])
    shown = [f"{count} {name}" for name, count in kinds[:OPERATORS]]
    more = sum(count for _, count in kinds[OPERATORS:])
    return "" if speed.delegates is None else speed.delegates, ", ".join(shown + [f"{more} more"] * bool(more))


def _comparison(result):
    timed = (f"{result.speed.median_ms:.2f}", *coverage(result.speed)) if result.speed else ("", "", "refused")
    drop, ends = f"{result.drop:+.2f}", result.interval
    val = f"{result.chosen.drop:+.2f}" if result.chosen else ""
    figures = [val, f"{result.value:.4f}", drop, f"{ends.low:+.2f} to {ends.high:+.2f}"] if ends else [drop, "", "", ""]
    return (
        result.target, result.strategy, *figures, f"{result.agreement:.4f}",
        f"{result.max_difference:.1e}", f"{result.bytes / 1e6:.2f}", *timed,
    )  # fmt: skip
