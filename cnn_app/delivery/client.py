"""The reference client: `fetch` brings the newest model that fits, verified, or leaves everything as it was.

TUF's own client (tuf.ngclient) verifies. Its state lies in a hidden folder beside the output: what was once seen is
never gone back behind.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

from tuf.api.exceptions import ExpiredMetadataError
from tuf.api.metadata import Metadata, Targets
from tuf.ngclient import Updater, UpdaterConfig

from cnn_app.atomic import replacing, write_bytes
from cnn_app.delivery.entry import SUFFIX, Entry, Wanted, choose, of_target
from cnn_app.delivery.errors import told
from cnn_app.delivery.fetcher import ResumingFetcher
from cnn_app.errors import ArtifactError, DeliveryError
from cnn_app.export import golden
from cnn_app.lock import locked
from cnn_app.runtimes.tflite import interpreter_class

ROOT_LIMIT_BYTES = UpdaterConfig.root_max_length


@dataclass(frozen=True)
class Fetched:
    """What lies at `path` now."""

    path: str
    entry: Entry
    changed: bool
    checked: int  # golden images that were answered here as where it was exported


def fetch(source: str, wanted: Wanted, *, root: str | os.PathLike[str], out: str | os.PathLike[str]) -> Fetched:
    """Bring what is `wanted` from a catalogue to a file, verified. What fails leaves the old file.

    source: an http(s) address, or a folder.
    wanted: `delivery.entry.Wanted`: name, channel, device class, versions of app and runtime.
    root: the root metadata that the app ships; all trust starts there.
    out: a .tflite file. Its client state is a folder beside it.

    Raises DeliveryError for what is not signed, old, expired, incomplete, or not there.
    """
    base, out = location(source), Path(out)
    if out.suffix != SUFFIX:
        raise DeliveryError(f"{out} does not end in {SUFFIX}, by which its interpreter knows it; choose another name")
    trusted, state = _root(Path(root)), out.parent / f".{out.name}-tuf"
    with told(source):
        state.mkdir(parents=True, exist_ok=True)
        with locked(state, DeliveryError):
            fetcher = ResumingFetcher(state / "parts")
            updater = Updater(str(state), f"{base}/metadata/", None, f"{base}/targets/", fetcher, bootstrap=trusted)
            _refresh(updater, fetcher, state, source)
            entry = choose(_entries(state), wanted)
            fetched = _bring(updater, entry, out)
            shutil.rmtree(state / "parts", ignore_errors=True)
    return fetched


def location(source: str) -> str:
    """Where `metadata/` and `targets/` are."""
    if "://" not in source:
        if not (Path(source) / "metadata").is_dir():
            raise DeliveryError(f"there is no catalogue at {source}; give its folder or its http(s) address")
        return str(Path(source).resolve())
    with suppress(ValueError):
        parts = urlsplit(source)
        if parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment:
            return source.rstrip("/")
    raise DeliveryError(
        f"{source!r} is no address of a catalogue; give a folder or one like https://example.org/models"
    )


def installed_runtime() -> str:
    """The version of tflite-runtime; empty without it: LiteRT counts otherwise, and is newer than all of TFLite."""
    try:
        return version("tflite-runtime")
    except PackageNotFoundError:
        return ""


def _root(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(ROOT_LIMIT_BYTES + 1)
    except OSError as error:
        raise DeliveryError(
            f"cannot read {path}: {error.strerror}; give the catalogue's metadata/1.root.json"
        ) from error
    if len(data) > ROOT_LIMIT_BYTES:
        raise DeliveryError(f"{path} is too large for root metadata; give the catalogue's metadata/1.root.json")
    return data


def _refresh(updater: Updater, fetcher: ResumingFetcher, state: Path, source: str) -> None:
    """The four roles, each verified by the one before."""
    try:
        updater.refresh()
    except ExpiredMetadataError as error:
        for data in ((state / "root.json").read_bytes(), fetcher.last):
            signed = Metadata.from_bytes(data).signed
            if signed.is_expired(datetime.now(UTC)):
                raise DeliveryError(
                    f"{signed.type} of {source} expired on {signed.expires:%Y-%m-%d}: its publisher runs deliver "
                    "renew, or somebody shows you an old state"
                ) from error
        raise


def _entries(state: Path) -> list[Entry]:
    """All models of the targets metadata, which the client keeps once it is verified."""
    targets = Metadata[Targets].from_file(str(state / "targets.json")).signed.targets.values()
    return [entry for target in targets if (entry := of_target(target))]


def _bring(updater: Updater, entry: Entry, out: Path) -> Fetched:
    model, answers = updater.get_targetinfo(entry.path), updater.get_targetinfo(entry.golden_path)
    assert model is not None, "it was chosen among the targets"
    files = {out: model} | ({golden.place(out): answers} if answers else {})
    if all(updater.find_cached_target(target, str(path)) for path, target in files.items()):
        return Fetched(str(out), entry, changed=False, checked=0)
    with replacing(out) as scratch:
        updater.download_target(model, str(scratch))
        checked = 0
        if answers:
            updater.download_target(answers, str(golden.place(scratch)))
            checked = _proven(scratch, entry)
            write_bytes(golden.place(out), golden.place(scratch).read_bytes())
    if not answers:
        golden.place(out).unlink(missing_ok=True)  # those of the former file
    return Fetched(str(out), entry, changed=True, checked=checked)


def _proven(model: Path, entry: Entry) -> int:
    """How many golden images the file answers here as where it was exported; 0 where no interpreter is."""
    try:
        interpreter_class()
    except ArtifactError:
        return 0
    check = golden.check(model)
    if not check.passed:
        raise DeliveryError(
            f"{entry.name} {entry.version} does not answer on this machine as where it was exported: scores differ by "
            f"{check.max_difference:.1e}, {check.tolerance:.0e} is allowed; tell its publisher"
        )
    return check.n
