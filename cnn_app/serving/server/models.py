"""Several models with several versions each; new ones take over without a request noticing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cnn_app.artifacts import size_bytes
from cnn_app.errors import CnnAppError
from cnn_app.serving.server.batching import Batcher
from cnn_app.serving.server.discovery import Servable
from cnn_app.serving.server.engines import Engine
from cnn_app.serving.server.errors import invalid, not_found
from cnn_app.serving.server.loading import Loading, opened, tried
from cnn_app.serving.server.metrics import Metrics

log = logging.getLogger(__name__)
QueueOf = Callable[[Engine, Callable[[int, float], None]], Batcher]  # that stands before a version
KEPT = 8  # ended versions that the status still tells of


@dataclass
class Version:
    """States are TF Serving's: LOADING, AVAILABLE, UNLOADING, END."""

    number: int
    path: Path
    size_bytes: int = 0  # of its files
    state: str = "LOADING"
    error: str = ""
    engine: Engine | None = None
    batcher: Batcher | None = None
    failed: tuple = ()  # what was on disk when it could not be loaded
    users: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class Model:
    def __init__(self, servable: Servable, queue_of: QueueOf, metrics: Metrics, loading: Loading):
        self.servable, self.queue_of, self.metrics, self.loading = servable, queue_of, metrics, loading
        self.name = servable.name
        self.versions: dict[int, Version] = {}
        self.labels: dict[str, int] = {}
        self._leaving: set[asyncio.Task] = set()

    @property
    def available(self) -> dict[int, Version]:
        return {number: version for number, version in sorted(self.versions.items()) if version.state == "AVAILABLE"}

    def choose(self, number: int | None = None, label: str | None = None) -> Version:
        """A version that answers: by number, by label, or the latest."""
        if label is not None:
            if label not in self.labels:
                known = ", ".join(sorted(self.labels)) or "none"
                raise invalid(f"Unrecognized servable version label: {label}; labels of {self.name}: {known}")
            number = self.labels[label]
        there = self.available
        if number is None and there:
            number = max(there)
        if number not in there:
            asked = "Latest" if number is None else "Specific"
            of = self.name if number is None else f"{self.name}, {number}"
            listed = ", ".join(map(str, there)) or "none"
            raise not_found(f"Servable not found for request: {asked}({of}); available versions: {listed}")
        return there[number]

    def told(self, number: int | None, label: str | None) -> list[Version]:
        """The versions that a status request is about."""
        if label is not None:
            number = self.choose(label=label).number
        if number is not None and number not in self.versions:
            raise not_found(f"Could not find version {number} of model {self.name}")
        found = [self.versions[key] for key in sorted(self.versions, reverse=True) if number in (None, key)]
        if not found:
            raise not_found(f"Could not find any versions of model {self.name}")
        return found

    async def refresh(self) -> None:
        """Load what is new on disk, then let the requests have it, then drop what is no longer wanted."""
        wanted, labels = await asyncio.to_thread(lambda: (self.servable.versions(), self.servable.labels()))
        new = []
        for number, path in wanted.items():
            known = self.versions.get(number)
            if known is None or (known.state == "END" and known.failed != await asyncio.to_thread(stamp, path)):
                new.append(Version(number, path))
                await self._load(new[-1])
        for version in new if self.available else ():  # where nothing answers, the server says why and ends
            if version.error:
                log.error("%s version %s: %s", self.name, version.number, version.error)
        self.labels = {label: number for label, number in labels.items() if number in self.available}
        there = self.available
        if there.keys() & wanted.keys():  # the last one that answers stays, whatever the disk says
            for number in there.keys() - wanted.keys():
                self._leave(there[number])
        ended = [number for number, version in sorted(self.versions.items()) if version.state == "END"]
        for number in ended:
            if number not in wanted and (self.versions[number].error or number in ended[:-KEPT]):
                del self.versions[number]

    async def _load(self, version: Version) -> None:
        others_answer = bool(self.available)
        self.versions[version.number] = version
        before = await asyncio.to_thread(stamp, version.path)
        try:
            if others_answer:  # without them a crash harms nobody
                await asyncio.to_thread(tried, version.path, self.loading)
            version.engine = await asyncio.to_thread(opened, version.path, self.loading)
            version.size_bytes = await asyncio.to_thread(size_bytes, version.path)
        except Exception as error:  # a broken version must not take those along that answer
            if not isinstance(error, CnnAppError):
                log.error("cannot load %s", version.path, exc_info=error)
            version.state, version.error = "END", str(error) or type(error).__name__
            version.failed = before  # it may have changed meanwhile
            return
        ran = self.metrics.batches(self.name, version.number)
        version.batcher = self.queue_of(version.engine, ran)
        version.state = "AVAILABLE"
        log.info("%s version %s answers, by %s", self.name, version.number, version.engine.kind)

    def _leave(self, version: Version) -> None:
        """No new request gets it; nobody waits for those that it still has."""
        version.state = "UNLOADING"
        task = asyncio.create_task(self._drop(version))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _drop(self, version: Version) -> None:
        """It ends when the last request it has is answered."""
        if version.users:
            version.idle.clear()
            await version.idle.wait()
        if version.batcher and version.engine:
            await version.batcher.close()
            await asyncio.to_thread(version.engine.close)
        version.engine = version.batcher = None
        version.state = "END"
        log.info("%s version %s is gone", self.name, version.number)

    async def close(self) -> None:
        for version in self.available.values():
            self._leave(version)
        await asyncio.gather(*self._leaving)


class Models:
    """Everything a server answers with."""

    def __init__(self, servables: Iterable[Servable], queue_of: QueueOf, metrics: Metrics, loading: Loading):
        self.by_name = {one.name: Model(one, queue_of, metrics, loading) for one in servables}

    def __getitem__(self, name: str) -> Model:
        if name not in self.by_name:
            known = ", ".join(sorted(self.by_name))
            raise not_found(f"Servable not found for request: Latest({name[:100]}); models here: {known}")
        return self.by_name[name]

    @asynccontextmanager
    async def using(self, name: str, number: int | None, label: str | None) -> AsyncIterator[Version]:
        """A version that stays until the block ends."""
        version = self[name].choose(number, label)
        version.users += 1
        try:
            yield version
        finally:
            version.users -= 1
            if not version.users:
                version.idle.set()

    @property
    def ready(self) -> bool:
        return all(model.available for model in self.by_name.values())

    async def refresh(self) -> None:
        """Every model beside the others."""
        await asyncio.gather(*map(_refreshed, self.by_name.values()))

    async def watch(self, poll_s: float) -> None:
        async def one(model: Model) -> None:
            while True:
                await asyncio.sleep(poll_s)
                await _refreshed(model)

        await asyncio.gather(*map(one, self.by_name.values()))

    async def close(self) -> None:
        await asyncio.gather(*(model.close() for model in self.by_name.values()))


async def _refreshed(model: Model) -> None:
    try:
        await model.refresh()
    except (OSError, CnnAppError) as error:  # a folder in the middle of a change: the next look will do
        log.warning("%s: %s", model.name, error)


def stamp(path: Path) -> tuple:
    """Changes when a version's files do: one that was being copied is tried again."""
    found = [path, *path.rglob("*")] if path.is_dir() else [path]
    return tuple(sorted((str(file), *_size_and_time(file)) for file in found))


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        about = file.stat()
    except OSError:  # it has just gone
        return 0, 0
    return about.st_size, about.st_mtime_ns
