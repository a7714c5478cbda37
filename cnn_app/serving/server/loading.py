"""A version is opened and asked in a child first: what crashes there, or takes for ever, takes nobody along."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cnn_app.child import Child, ChildError
from cnn_app.errors import ArtifactError, CnnAppError
from cnn_app.serving.server.engines import Engine, open_engine
from cnn_app.serving.server.warmup import warm


def opened(path: Path, trust: bool) -> Engine:
    engine = open_engine(path, trust)
    warm(engine, path)
    return engine


def tried(path: Path, trust: bool, seconds: float) -> None:
    """Raises ArtifactError for what cannot be opened in `seconds`, or ends the process that tries."""
    try:
        with Child(build, str(path), trust) as child:
            child.ask(b"", seconds)
    except ChildError as error:
        raise ArtifactError(f"cannot load {path}: {error} (--load-timeout)") from error
    except CnnAppError as error:
        raise ArtifactError(str(error)) from error


def build(path: str, trust: bool) -> Callable[[bytes], bytes]:
    """The child's side."""
    from cnn_app.quiet import quiet_tensorflow

    quiet_tensorflow()
    opened(Path(path), trust).close()
    return lambda request: b""
