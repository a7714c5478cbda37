"""A version is opened and asked in a child first: what crashes there, or takes for ever, takes nobody along."""

from __future__ import annotations

import struct
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread

from cnn_app.child import Child, ChildError
from cnn_app.errors import ArtifactError, CnnAppError
from cnn_app.serving.server.discovery import Servable
from cnn_app.serving.server.engines import Engine, open_engine
from cnn_app.serving.server.warmup import seconds_of_one, warm

SECONDS = struct.Struct("!d")
SHORT_S = 0.025  # of a record on one core: more cores would spare less, and are better used by other requests
CHILDREN = 2  # at a time; each has a TensorFlow of its own


@dataclass(frozen=True)
class Loading:
    """seconds: that a version may take to be ready. trust: load SavedModels whose operators touch the system.

    threads: as of `open_engine`. failed: why versions are not to be opened at all, each told once.
    """

    seconds: float = 120
    trust: bool = False
    threads: int = 0
    failed: dict[Path, str] = field(default_factory=dict)


def opened(path: Path, loading: Loading) -> Engine:
    if path in loading.failed:
        raise ArtifactError(loading.failed.pop(path))
    engine = open_engine(path, loading.trust, loading.threads)
    warm(engine, path)
    return engine


def tried(path: Path, loading: Loading) -> float:
    """The seconds that a record takes on one core.

    Raises ArtifactError for what cannot be opened in time, or ends the process that tries.
    """
    try:
        with Child(build, str(path), loading.trust) as child:
            return SECONDS.unpack(child.ask(b"", loading.seconds))[0]
    except ChildError as error:
        raise ArtifactError(f"cannot load {path}: {error} (--load-timeout)") from error
    except CnnAppError as error:
        raise ArtifactError(str(error)) from error


def suiting(loading: Loading, servables: list[Servable]) -> Callable[[], Loading]:
    """What waits for `suited`, which runs meanwhile in a thread that nobody needs to wait for."""
    found: Future[Loading] = Future()

    def run() -> None:
        try:
            found.set_result(suited(loading, servables))
        except BaseException as error:
            found.set_exception(error)

    Thread(target=run, daemon=True).start()
    return found.result


def suited(loading: Loading, servables: list[Servable]) -> Loading:
    """`loading` by a trial of all versions: where records are short, each runs in a thread of its own."""

    def trial(path: Path) -> float | str:
        try:
            return tried(path, loading)
        except CnnAppError as error:
            return str(error)

    paths = [path for one in servables for path in one.versions().values()]
    with ThreadPoolExecutor(CHILDREN) as pool:
        found = dict(zip(paths, pool.map(trial, paths), strict=True))
    seconds = [one for one in found.values() if isinstance(one, float)]
    failed = {path: one for path, one in found.items() if isinstance(one, str)}
    return replace(loading, threads=int(max(seconds, default=0) < SHORT_S), failed=failed)


def build(path: str, trust: bool) -> Callable[[bytes], bytes]:
    """The child's side."""
    from cnn_app.quiet import quiet_tensorflow

    quiet_tensorflow()
    engine = opened(Path(path), Loading(trust=trust, threads=1))
    seconds = seconds_of_one(engine)
    engine.close()
    return lambda request: SECONDS.pack(seconds)
