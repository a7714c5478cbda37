"""A TF Serving base path: numbered versions that a polling server sees whole or not at all, and labels for them.

BASE/
    3/  4/          versions; TF Serving loads the highest, or those that models.config names
        assets.extra/tf_serving_warmup_requests    what it sends itself before it takes a version into service
    labels.json     {"stable": 3, "canary": 4}; TF Serving passes over every entry that is no number

Numbers only go up, and a number never means another model than before: clients, logs and caches rely on it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cnn_app.artifacts import read_json
from cnn_app.atomic import flush, one_writer, scratch, write_json
from cnn_app.errors import ServingError

LABELS = "labels.json"
WARMUP = Path("assets.extra", "tf_serving_warmup_requests")  # in a version
NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")  # fits in the int64 of TF Serving
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # of a label or a model, in an address


def versions(base: Path) -> list[int]:
    """The versions that are published at `base`, ascending; none where there is no such folder."""
    try:
        return sorted(int(entry.name) for entry in base.iterdir() if NUMBER.fullmatch(entry.name) and entry.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ServingError(f"cannot read {base}: {error.strerror}") from error


def labels(base: Path) -> dict[str, int]:
    """Which version each label names."""
    path = base / LABELS
    found = read_json(path) if path.exists() else {}
    if not isinstance(found, dict) or not all(type(version) is int for version in found.values()):
        raise ServingError(f'{path} is none of our files; it should read like {{"stable": 3}}')
    return found


def publish(source: Path, base: Path) -> int:
    """Copy the SavedModel in the folder `source` to `base` under the next number."""
    if not (source / "saved_model.pb").is_file():
        raise ServingError(f"{source} is no SavedModel; give a folder like saved_models/NAME/serving/1")
    if base.resolve().is_relative_to(source.resolve()):
        raise ServingError(f"{base} lies inside of {source}; choose a place beside it")
    with _told(base):
        base.mkdir(parents=True, exist_ok=True)
    with _editing(base):
        return _add(source, base)


def rollback(base: Path, to: int | None = None) -> tuple[int, int]:
    """Publish version `to` again, by default the one below the highest: (to, its new number).

    A second rollback therefore takes the first one back.
    """
    with _editing(base):
        found = _existing(base)
        if to is None and len(found) == 1:
            raise ServingError(f"{base} has version {found[0]} only; there is none to go back to")
        to = _known(base, found[-2] if to is None else to)
        if to == found[-1]:
            raise ServingError(f"version {to} of {base} is the highest; there is nothing to take back")
        return to, _add(base / str(to), base)


def prune(base: Path, keep: int) -> list[int]:
    """Remove all versions but the `keep` highest and those that a label names; those removed."""
    with _editing(base):
        found = _existing(base)
        kept = {*found[-keep:], *labels(base).values()}
        gone = [version for version in found if version not in kept]
        with scratch(base) as place:
            for version in gone:  # out of sight in one step, then file by file
                (base / str(version)).rename(place / str(version))
        return gone


def label(base: Path, changes: Mapping[str, int | None]) -> dict[str, int]:
    """Let labels name versions, or nothing any more where it is None; all labels there are now."""
    with _editing(base):
        wanted: dict[str, int | None] = {**labels(base), **changes}
        for name, version in changes.items():
            if not NAME.fullmatch(name):
                raise ServingError(f"{name!r} is no label; up to 64 letters, digits, dots, dashes and underscores")
            if version is not None:
                _known(base, version)
        kept = {name: version for name, version in sorted(wanted.items()) if version is not None}
        write_json(base / LABELS, kept)
        return kept


def _add(source: Path, base: Path) -> int:
    version, before = max(versions(base), default=0) + 1, source.stat().st_ino
    with scratch(base) as place:
        copy = shutil.copytree(source, place / str(version))
        if source.stat().st_ino != before:
            raise ServingError(f"{source} was replaced while it was copied; publish it again")
        flush(copy)
        copy.rename(base / str(version))  # fails where something else has put a version there
    return version


def _existing(base: Path) -> list[int]:
    found = versions(base)
    if not found:
        raise ServingError(f"{base} has no versions; serving publish puts one there")
    return found


def _known(base: Path, version: int) -> int:
    found = _existing(base)
    if version not in found:
        raise ServingError(f"{base} has no version {version}; it has {', '.join(map(str, found))}")
    return version


@contextmanager
def _editing(base: Path) -> Iterator[None]:
    """One writer at a time."""
    if not base.is_dir():
        _existing(base)
    with _told(base), one_writer(base, ServingError):
        yield


@contextmanager
def _told(base: Path) -> Iterator[None]:
    """Errors of the disk in one line."""
    try:
        yield
    except OSError as error:
        # copytree collects (source, target, reason) of every file
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror or str(error)
        raise ServingError(f"cannot write {base}: {reason}; free some space or choose another place") from error
