"""Which of the ways to write an integer file is taken: they are compared on val, and test proves the one that is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import copyfile

from cnn_app import tasks
from cnn_app.errors import ExportError
from cnn_app.export import budget
from cnn_app.export.quantization.strategies import INT8, Attempt
from cnn_app.export.verification import Comparison, Reference, compare
from cnn_app.recipe import Export
from cnn_app.tasks import Task


def choose(
    name: str, tiers: Iterable[Iterable[Attempt]], reference: Reference, options: Export, folder: Path,
    tell: Callable[[Comparison], None],
) -> tuple[Attempt, Comparison]:  # fmt: skip
    """Of the first tier in which any file keeps within the budget the one to publish, written into `folder`.

    `tell` hears of those that do not. Raises ExportError where none does.
    """
    tried: list[Comparison] = []
    for attempts in tiers:
        within = []
        for attempt, result in _compared(attempts, reference, options, folder):
            tried.append(result)
            if result.drop > options.max_drop + budget.ROUNDING:
                tell(replace(result, interval=None))
            else:
                within.append((attempt, result))
                if _is_sure(result, options):
                    break
        if within:  # a drop on few records tells equally fast files apart badly; all records tell how they agree
            return max(within, key=lambda found: found[1].agreement)
    raise ExportError(refusal(name, tried, reference.task, options))


def _compared(attempts: Iterable[Attempt], reference: Reference, options: Export, folder: Path,
              ) -> Iterable[tuple[Attempt, Comparison]]:  # fmt: skip
    for attempt in attempts:
        file = folder / f"{attempt.strategy}.tflite"
        attempt.write(file)
        result = compare(attempt.target, file, reference, attempt.strategy, options.confidence or budget.CONFIDENCE)
        yield replace(attempt, write=partial(copyfile, file)), result


def _is_sure(result: Comparison, options: Export) -> bool:
    """Whether no other file has to be looked at."""
    assert result.interval is not None
    return result.agreement == 1 or result.interval.high <= options.max_drop + budget.ROUNDING


def refusal(name: str, tried: list[Comparison], task: Task, options: Export) -> str:
    best = min(tried, key=lambda result: result.drop)
    learn = name == INT8 and not options.qat_epochs
    way_out = "let it learn to round with --qat-epochs 3, or " if learn else ""
    ways = f" at best, in {len(tried)} ways" if len(tried) > 1 else ""
    where = " of val" if best.figures else ""
    return (
        f"{name} {tasks.told_drop(task, best.drop)} ({best.keras_value:.4f} to {best.value:.4f} on {best.n} "
        f"{task.input.plural}{where}){ways}, more than --max-drop {options.max_drop:g}; it was not written: {way_out}"
        "ship tflite-float16"
    )
