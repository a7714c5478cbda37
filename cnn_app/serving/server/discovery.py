"""What `serve` is pointed at, as models with versions: model directories, base paths, files, or a store of several."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cnn_app.artifacts import ModelDir, model_dir_of
from cnn_app.errors import ServingError
from cnn_app.serving import store
from cnn_app.serving.server.engines import FILES, the_file


@dataclass(frozen=True)
class Source:
    """A TF Serving base path, or one version alone."""

    name: str
    path: Path
    number: int | None = None  # of the one version

    def versions(self) -> dict[int, Path]:
        """The latest version and those that a label names, as by TF Serving's default policy."""
        if self.number is not None:
            return {self.number: self.path}
        found = store.versions(self.path) if self.path.is_dir() else []
        wanted = {*found[-1:], *self.labels().values()}
        return {number: self.path / str(number) for number in found if number in wanted}

    def labels(self) -> dict[str, int]:
        return {} if self.number is not None else store.labels(self.path)


def sources(places: Iterable[str]) -> list[Source]:
    """For each DIR or NAME=DIR. Two models of one name are an error."""
    found: dict[str, Source] = {}
    for place in places:
        for source in _sources_of(place):
            if source.name in found:
                raise ServingError(f"two models are named {source.name}: {found[source.name].path} and {source.path}; "
                                   f"rename one with NAME={source.path}")  # fmt: skip
            found[source.name] = source
    return list(found.values())


def _sources_of(place: str) -> list[Source]:
    name, given, path = place.rpartition("=")
    if given and not Path(place).exists():
        return [_source(Path(path), name) or _none(Path(path))]
    folder = Path(place)
    source = _source(folder, "")
    if source is None and folder.is_dir():
        children = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
        several = [found for child in children if (found := _source(child, ""))]
        return several or [_none(folder)]
    return [source or _none(folder)]


def _source(path: Path, name: str) -> Source | None:
    """None if there is no model at `path` itself."""
    directory = model_dir_of(path)
    name = name or (directory.name if directory else _plain_name(path))
    if path.is_file() and path.suffix in FILES:
        return Source(name, path, 1)
    if not path.is_dir():
        return None
    if (path / "saved_model.pb").is_file():
        return Source(name, path, int(path.name) if path.name.isdecimal() else 1)
    if store.versions(path):
        return Source(name, path)
    inside = ModelDir(path)
    if inside.serving.is_dir() and store.versions(inside.serving):
        return Source(name, inside.serving)
    for folder in (inside.onnx, inside.mobile, path):
        if folder.is_dir() and any(file.suffix in FILES for file in folder.iterdir()):
            return Source(name, the_file(folder), 1)
    return None


def _plain_name(path: Path) -> str:
    """Of a base path its own name, or that of the model directory around `serving/`."""
    resolved = path.resolve()
    if resolved.name.isdecimal():
        resolved = resolved.parent
    return resolved.parent.name if resolved.name == "serving" else resolved.stem


def _none(path: Path):
    if not path.exists():
        raise ServingError(
            f"there is nothing at {path}; give a model directory, a base path, or a .onnx or .tflite file"
        )
    raise ServingError(f"{path} holds no exported model; cnn-app export {path} --to saved_model")
