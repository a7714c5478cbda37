"""Answers to as many records as there are: in batches, part by part, so that a process that is killed goes on.

Parts of an unfinished table lie in a folder beside it, each written whole; the table is made of them in the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from cnn_app import tasks
from cnn_app.artifacts import sha256, size_bytes
from cnn_app.atomic import check_place, holds, one_writer, write_json, write_text
from cnn_app.data import manifest
from cnn_app.errors import DataError
from cnn_app.inputs import files
from cnn_app.jobs import answer_tables
from cnn_app.runtimes import Runtime, familiarity_of
from cnn_app.runtimes.familiarity import TOLD
from cnn_app.tasks import Task
from cnn_app.tensors import Arrays

UNFINISHED, PLAN = ".part", "plan.json"  # behind the name of a table, and in that folder
PART = 512  # records
BATCH = 64
AHEAD = 4  # batches that are read while one is answered
Progress = Callable[[int, int, float], object]  # records done, of how many, and records a second


@dataclass(frozen=True)
class Scored:
    """What became of the records."""

    records: int
    errors: int  # of them, that could not be read
    taken: int  # of them, that were answered before
    per_second: float  # of the others


def score(
    runtime: Runtime, task: Task, source: str, out: str | os.PathLike[str], top: int = 5, *,
    directory: str | None = None, encoding: str = "utf-8", batch: int = BATCH, progress: Progress | None = None,
) -> Scored:  # fmt: skip
    """Write a table with a row for each record of `source`, in their order: its name, and the answer or an `error`.

    source: a folder, of which all files count that the input reads, or a table with the column `path`.
    out: .csv, .jsonl or .parquet. Rows of a run that was stopped are taken, if artifact and records are the same.
    directory: where the paths of a table start, if not at its own folder.
    batch: records that the runtime gets at a time.

    Raises DataError where there are no records, or where they have no one size.
    """
    place = Path(out)
    check_place(place)
    answer_tables.check(place)
    if not task.input.suffixes or any(None in (spec.shape or (None,))[1:] for spec in task.input.specs().values()):
        raise DataError(f"{task.input.plural} are not scored by the folder; give them as records")
    listed = _listed(task, source, directory, encoding)
    work, plan = place.with_name(place.name + UNFINISHED), _plan(runtime, task, listed, top)
    with one_writer(work, DataError):
        if not holds(work / PLAN, plan):
            for file in work.glob("*.json*"):
                file.unlink()
            write_json(work / PLAN, plan)
        done = _Parts(runtime, task, work, top, batch, progress).write(listed)
        answer_tables.write(place, lambda: _rows(work))
        for file in (work / PLAN, *_parts(work)):
            file.unlink()
    shutil.rmtree(work, ignore_errors=True)
    return done


def _listed(task: Task, source: str, directory: str | None, encoding: str) -> list[tuple[str, Path]]:
    """Names, and where they lie; each once."""
    if not Path(source).is_dir():
        if not Path(source).is_file():
            raise DataError(f"no data at {source!r}; give a folder, or a table with the column path")
        found = list(manifest.paths(source, directory, encoding))
    else:
        known = files.SUFFIXES if task.input.suffixes == files.SENT else task.input.suffixes  # converted ones, too
        found = [(files.relative(Path(name), Path(source)), Path(name)) for name in
                 files.names([source], known, task.input.plural)]  # fmt: skip
    if not found:
        raise DataError(f"{source} lists no {task.input.plural}; give a line for each")
    (twice, times), *_ = Counter(name for name, _ in found).most_common(1)
    if times > 1:
        raise DataError(f"{source} has the path {twice} twice; remove one")
    return found


def _plan(runtime: Runtime, task: Task, listed: Sequence[tuple[str, Path]], top: int) -> dict:
    """What decides the rows."""
    path = Path(runtime.path)
    names = "\n".join(str(place.absolute()) for _, place in listed)
    return {
        "artifact": sha256(path) if path.is_file() else f"{path.absolute()} {size_bytes(path)}",
        "task": tasks.facts(task),
        "records": hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest(),
        "top": top,
    }


def _parts(work: Path) -> list[Path]:
    return sorted(work.glob("*.jsonl"))


def _rows(work: Path) -> Iterator[dict]:
    for file in _parts(work):
        with file.open(encoding="utf-8") as stream:
            yield from map(json.loads, stream)


class _Parts:
    def __init__(self, runtime: Runtime, task: Task, work: Path, top: int, batch: int, progress: Progress | None):
        self.runtime, self.task, self.work, self.top, self.batch = runtime, task, work, top, batch
        self.progress, self.decode = progress or (lambda *_: None), task.input.decoder()

    def write(self, listed: Sequence[tuple[str, Path]]) -> Scored:
        errors = taken = answered = 0
        start, kind = perf_counter(), self.task.input.encoded.removesuffix("_bytes")
        todo = []
        for number, first in enumerate(range(0, len(listed), PART)):
            file, members = self.work / f"{number:07d}.jsonl", listed[first : first + PART]
            if file.is_file():
                taken += len(members)
                errors += sum('"error": ' in line for line in file.read_text("utf-8").splitlines())
            else:
                todo.append((file, members))
        found = self._answered([member for _, members in todo for member in members])
        for file, members in todo:
            rows = []
            for name, _ in members:
                answer = next(found)
                rows.append({kind: name} | answer)
                errors += "error" in answer
                answered += 1
                self.progress(taken + answered, len(listed), answered / (perf_counter() - start))
            write_text(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return Scored(len(listed), errors, taken, answered / max(perf_counter() - start, 1e-9))

    def _answered(self, listed: Sequence[tuple[str, Path]]) -> Iterator[dict]:
        """In order; batches are read by threads while others are answered."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            waiting: deque[list[Future]] = deque()
            starts = iter(range(0, len(listed), self.batch))
            try:
                while True:
                    for first in starts:
                        waiting.append([pool.submit(self._read, *one) for one in listed[first : first + self.batch]])
                        if len(waiting) > AHEAD:
                            break
                    if not waiting:
                        return
                    yield from self._of([future.result() for future in waiting.popleft()])
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, name: str, path: Path) -> Arrays | DataError:
        try:
            data = files.content(path)
            if path.suffix.lower() not in self.task.input.suffixes:  # one that is converted
                return self.task.input.load(data, name)
            self.task.input.decoded_bytes(data, files.MAX_PIXELS)
            return self.decode(data)
        except DataError as error:
            return error

    def _of(self, read: list[Arrays | DataError]) -> Iterable[dict]:
        good = [record for record in read if not isinstance(record, DataError)]
        answers: Iterator[dict] = iter(())
        if good:
            arrays = {name: np.stack([record[name] for record in good]) for name in good[0]}
            outputs, seen = self.runtime.run(arrays), familiarity_of(self.runtime, arrays)
            told = [{key: seen[key][i].item() for key in TOLD if key in seen} for i in range(len(good))]
            answers = (self.task.answer({name: array[i] for name, array in outputs.items()}, self.top) | told[i]
                       for i in range(len(good)))  # fmt: skip
        return [{"error": str(record)} if isinstance(record, DataError) else next(answers) for record in read]
