"""Records decoded once, as a network takes them, into a pack that trains as they do."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from cnn_app import registry, tasks
from cnn_app.artifacts import sha256
from cnn_app.atomic import check_place, flush, holds, one_writer, write_json
from cnn_app.data import packs, pipeline, told
from cnn_app.data.dataset import Dataset, Split
from cnn_app.data.known import stamps
from cnn_app.data.packs import Kind
from cnn_app.errors import ArtifactError, DataError
from cnn_app.jobs import sources
from cnn_app.recipe import Data
from cnn_app.tasks import Task

UNFINISHED = ".part"  # behind the name of a pack
PLAN, DONE = "plan.json", "{split}.{part:05d}.json"


def pack(
    data: str | Data, out: str | os.PathLike[str], *, name: str = "resnet18", columns: Mapping | None = None,
    options: Mapping | None = None, progress: pipeline.Progress | None = None,
) -> dict:  # fmt: skip
    """Write the records of `data` to the folder `out`, which ends in `.pack`; what became of them is returned.

    name: the network that takes them; its row, with `columns` in it, has size and task, which `options` change.
    What was packed when a process was stopped is taken again, as long as the files are what they were.

    {"records": by split, "bytes", "skipped": lines, "taken": parts that were there before}

    Raises DataError for records that cannot be read or that have no one size, and where the disk is too small.
    """
    place, source = Path(out), sources.data_of(data)
    task = tasks.of_row(registry.spec(name, **(columns or {})), options or {}, {})
    if place.suffix != packs.ENDING:
        raise DataError(f"a pack ends in {packs.ENDING}, received {place}")
    if place.exists():
        raise DataError(f"{place} is there already; remove it, or choose another name")
    check_place(place)
    dataset = task.load(source)
    task = task.fitted(dataset)
    splits = dataset.distinct()
    kinds = _kinds(task, splits["train"])
    work = place.with_name(place.name + UNFINISHED)
    plan = _plan(task, dataset, told(source), kinds)
    _check_space(work, sum(map(len, splits.values())) * sum(kind.record_bytes for kind in kinds.values()))
    with one_writer(work, DataError):
        if not holds(work / PLAN, plan):
            _emptied(work)
            write_json(work / PLAN, plan)
        packed = _Packed(task, dataset, work, kinds, told(source).on_bad_image == "skip", progress)
        for split in splits:
            packed.write(split)
        packed.finish(plan)
    work.rename(place)
    return {"records": packed.records, "bytes": packed.bytes, "skipped": packed.skipped, "taken": packed.taken}


def _kinds(task: Task, split: Split) -> dict[str, Kind]:
    found, specs = {}, {name: spec for name, (spec, _) in task.converters().items()}
    for name, column in split.columns.items():
        part = "inputs" if name in split.inputs else "targets"
        if name in specs and specs[name].shape is not None and None not in specs[name].shape:
            found[name] = Kind(part, np.dtype(specs[name].dtype), tuple(specs[name].shape), True)
        elif name not in specs and column.array is not None and column.array.dtype.kind in packs.KINDS:
            found[name] = Kind(part, column.array.dtype, column.array.shape[1:], False)
        else:
            raise DataError(f"{name} of {task.input.plural} for {task.name} has no one size; packs are of images and "
                            "what belongs to them")  # fmt: skip
    if not any(kind.mapped for kind in found.values()):
        raise DataError(f"{task.input.plural} for {task.name} are read as fast as they are; there is nothing to pack")
    return found


def _plan(task: Task, dataset: Dataset, data: Data, kinds: dict[str, Kind]) -> dict:
    """What decides the bytes of a pack."""
    facts = tasks.facts(task)
    return {
        "version": packs.VERSION,
        "task": facts["task"],
        "input": facts["input"],
        "labels": list(dataset.labels),
        "division": dict(dataset.division),
        "columns": {name: kind.facts() for name, kind in kinds.items()},
        "records": dataset.fingerprint(),
        "data": {name: value for name, value in asdict(data).items() if name != "on_bad_image"},
        "files": _files_digest(dataset),
    }


def _files_digest(dataset: Dataset) -> str:
    """Over size and time of all files, where records are of files."""
    digest = hashlib.sha256()
    for split in dataset.distinct().values():
        for column in split.columns.values():
            digest.update(json.dumps(stamps(column.files or ())).encode())
    return digest.hexdigest()


def _check_space(work: Path, wanted: int) -> None:
    there = next(folder for folder in work.absolute().parents if folder.exists())
    held = sum(file.stat().st_size for file in work.glob("*.bin"))
    free = shutil.disk_usage(there).free + held
    if wanted > free:
        raise DataError(f"the pack takes {wanted / 2**30:,.1f} GiB, {there} has {free / 2**30:,.1f} GiB free; choose "
                        "another place, or a smaller --image")  # fmt: skip


def _emptied(work: Path) -> None:
    for file in work.iterdir():
        if file.suffix in (".bin", ".json"):
            file.unlink()


def to_file(values: np.ndarray, file: Path) -> None:
    """The values alone, one after the other."""
    values.tofile(file)


class _Packed:
    """The parts of a pack, one after the other; of each its columns first, and last what it holds."""

    def __init__(self, task: Task, dataset: Dataset, work: Path, kinds: dict[str, Kind], skip_bad: bool, progress):
        self.converters, self.dataset, self.work, self.kinds = task.converters(), dataset, work, kinds
        self.skip_bad, self.progress = skip_bad, progress or (lambda *_: None)
        self.size = max(1, packs.SHARD_BYTES // sum(kind.record_bytes for kind in kinds.values()))
        self.skipped: list[str] = []
        self.records: dict[str, int] = {}
        self.parts: dict[str, list[int]] = {}
        self.digests: dict[str, str] = {}
        self.taken = 0

    @property
    def bytes(self) -> int:
        return sum(self.records.values()) * sum(kind.record_bytes for kind in self.kinds.values())

    def write(self, split: str) -> None:
        raw, names = self.dataset.splits[split], []
        self.parts[split] = []
        for part, start in enumerate(range(0, len(raw), self.size)):
            places = np.arange(start, min(start + self.size, len(raw)))
            told = self._done(split, part) or self._part(split, part, raw.take(places), start, len(raw))
            self.skipped += told["skipped"]
            self.parts[split].append(len(told["names"]))
            self.digests |= told["digests"]
            names += told["names"]
            self.progress(f"packing {split}", int(places[-1]) + 1, len(raw))
        if not names:
            raise DataError(f"{self.dataset.source}: not one record of {split} can be read, such as {self.skipped[-1]}")
        self.records[split] = len(names)
        write_json(self.work / packs.names_file(split), names)

    def _done(self, split: str, part: int) -> dict | None:
        file = self.work / DONE.format(split=split, part=part)
        if not file.is_file():
            return None
        self.taken += 1
        return json.loads(file.read_bytes())

    def _part(self, split: str, part: int, raw: Split, start: int, whole: int) -> dict:
        tell = lambda i, n: self.progress(f"packing {split}", start + i, whole)  # noqa: E731
        found, bad = pipeline.convert_split(raw, self.converters, {}, tell, keep=True)
        if bad and not self.skip_bad:
            raise pipeline.unreadable(self.dataset.source, bad)
        digests = {}
        for name, kind in self.kinds.items():
            values = found.columns[name].array
            assert values is not None
            file = self.work / packs.file_name(split, part, name)
            self._written(file, np.ascontiguousarray(values, kind.dtype))
            digests[file.name] = sha256(file)
        told = {"names": list(found.names), "skipped": bad, "digests": digests}
        write_json(self.work / DONE.format(split=split, part=part), told)
        return told

    def _written(self, file: Path, values: np.ndarray) -> None:
        try:
            to_file(values, file)
            flush(file)
        except OSError as error:
            file.unlink(missing_ok=True)
            raise ArtifactError(f"cannot write {file}: {error.strerror or error}; free some space, and the same "
                                "command goes on where it stood") from error  # fmt: skip

    def finish(self, plan: dict) -> None:
        """Last of all, so that a pack without it is not finished."""
        known = ("version", "task", "input", "labels", "division", "columns")
        about = {name: plan[name] for name in known} | {"source": self.dataset.source}
        write_json(self.work / packs.ABOUT, about | {"parts": self.parts, "digests": self.digests})
        for split, counts in self.parts.items():
            for part in range(len(counts)):
                (self.work / DONE.format(split=split, part=part)).unlink()
        (self.work / PLAN).unlink()
