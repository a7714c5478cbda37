"""Several models with several versions each; new ones take over without a request noticing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cnn_app.errors import CnnAppError
from cnn_app.serving.batching import Batcher, Batching
from cnn_app.serving.engines import Engine, open_engine
from cnn_app.serving.metrics import Metrics
from cnn_app.serving.refusals import invalid, not_found
from cnn_app.serving.sources import Source
from cnn_app.serving.warmup import warm

log = logging.getLogger(__name__)
KEPT = 8  # ended versions that the status still tells of


@dataclass
class Version:
    """States are TF Serving's: LOADING, AVAILABLE, UNLOADING, END."""

    number: int
    path: Path
    state: str = "LOADING"
    error: str = ""
    engine: Engine | None = None
    batcher: Batcher | None = None
    users: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class Model:
    def __init__(self, source: Source, batching: Batching, queue: int, metrics: Metrics):
        self.source, self.batching, self.queue, self.metrics = source, batching, queue, metrics
        self.name = source.name
        self.versions: dict[int, Version] = {}
        self.labels: dict[str, int] = {}

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
        wanted, labels = await asyncio.to_thread(lambda: (self.source.versions(), self.source.labels()))
        for number, path in wanted.items():
            known = self.versions.get(number)
            if known is None or (known.state == "END" and not known.error):
                await self._load(Version(number, path))
        self.labels = {label: number for label, number in labels.items() if number in self.available}
        gone = [version for number, version in self.available.items() if number not in wanted]
        if any(number in wanted for number in self.available):  # never drop the last one that answers
            await asyncio.gather(*map(self._drop, gone))
        for number, version in list(self.versions.items()):
            if version.state == "END" and not version.path.exists():
                ended = [key for key in sorted(self.versions) if self.versions[key].state == "END"]
                if version.error or number in ended[:-KEPT]:
                    del self.versions[number]

    async def _load(self, version: Version) -> None:
        self.versions[version.number] = version
        try:
            version.engine = await asyncio.to_thread(_opened, version.path)
        except Exception as error:  # a broken version must not take those along that answer
            if not isinstance(error, CnnAppError):
                log.error("cannot load %s", version.path, exc_info=error)
            version.state, version.error = "END", str(error) or type(error).__name__
            log.error("%s version %s: %s", self.name, version.number, version.error)
            return
        ran = self.metrics.batches(self.name, version.number)
        version.batcher = Batcher(version.engine, self.batching, self.queue, ran)
        version.state = "AVAILABLE"
        log.info("%s version %s answers, by %s", self.name, version.number, version.engine.kind)

    async def _drop(self, version: Version) -> None:
        """No new request gets it; it ends when the last one it has is answered."""
        version.state = "UNLOADING"
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
        await asyncio.gather(*map(self._drop, self.available.values()))


class Models:
    """Everything a server answers with."""

    def __init__(self, sources: Iterable[Source], batching: Batching, queue: int, metrics: Metrics):
        self.by_name = {source.name: Model(source, batching, queue, metrics) for source in sources}

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
        for model in self.by_name.values():
            try:
                await model.refresh()
            except (OSError, CnnAppError) as error:  # a folder in the middle of a change: the next look will do
                log.warning("%s: %s", model.name, error)

    async def watch(self, poll_s: float) -> None:
        while True:
            await asyncio.sleep(poll_s)
            await self.refresh()

    async def close(self) -> None:
        await asyncio.gather(*(model.close() for model in self.by_name.values()))


def _opened(path: Path) -> Engine:
    engine = open_engine(path)
    warm(engine, path)
    return engine
