"""What `serve` is pointed at, as servables: model directories, base paths, files, or a store of several."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cnn_app.artifacts import ModelDir, model_dir_of
from cnn_app.errors import ServingError
from cnn_app.serving import store

FILES = (".onnx", ".tflite")


@dataclass(frozen=True)
class Servable:
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


def discover(places: Iterable[str]) -> list[Servable]:
    """For each DIR or NAME=DIR. Two models of one name are an error."""
    found: dict[str, Servable] = {}
    for place in places:
        for one in _servables_at(place):
            if one.name in found:
                raise ServingError(f"two models are named {one.name}: {found[one.name].path} and {one.path}; "
                                   f"rename one with NAME={one.path}")  # fmt: skip
            found[one.name] = one
    return list(found.values())


def _servables_at(place: str) -> list[Servable]:
    name, given, path = place.rpartition("=")
    if given and not Path(place).exists():
        return [_servable(Path(path), name) or _none(Path(path))]
    folder = Path(place)
    servable = _servable(folder, "")
    if servable is None and folder.is_dir():
        children = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
        several = [found for child in children if (found := _servable(child, ""))]
        return several or [_none(folder)]
    return [servable or _none(folder)]


def _servable(path: Path, name: str) -> Servable | None:
    """None if there is no model at `path` itself."""
    directory = model_dir_of(path)
    name = name or (directory.name if directory else _plain_name(path))
    if path.is_file() and path.suffix in FILES:
        return Servable(name, path, 1)
    if not path.is_dir():
        return None
    if (path / "saved_model.pb").is_file():
        return Servable(name, path, int(path.name) if path.name.isdecimal() else 1)
    if store.versions(path):
        return Servable(name, path)
    inside = ModelDir(path)
    if inside.serving.is_dir() and store.versions(inside.serving):
        return Servable(name, inside.serving)
    for folder in (inside.onnx, inside.mobile, path):
        if folder.is_dir() and any(file.suffix in FILES for file in folder.iterdir()):
            return Servable(name, the_file(folder), 1)
    return None


def the_file(path: Path) -> Path:
    """`path`, or the one model file in it."""
    found = sorted(file for file in path.iterdir() if file.suffix in FILES) if path.is_dir() else [path]
    if len(found) == 1 and found[0].suffix in FILES:
        return found[0]
    names = ", ".join(file.name for file in found)
    raise ServingError(f"{path} holds {f'several models ({names}); give one of them' if found else 'no model'}")


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
