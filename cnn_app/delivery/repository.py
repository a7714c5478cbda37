"""The files of a catalogue: read with all signatures verified, changed so that a reader sees the old state or the new.

A state is visible once timestamp.json names it, which is written last; what no state names is swept away.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from cnn_app.atomic import write_bytes
from cnn_app.delivery.errors import told
from cnn_app.errors import DeliveryError
from cnn_app.lock import locked

EXPIRY_DAYS = {"root": 730, "targets": 365, "snapshot": 30, "timestamp": 30}
VOUCHED = ("targets", "snapshot", "timestamp")  # each by the next, the last one by time


@dataclass
class State:
    """The signed metadata of all four roles; the bytes of targets and snapshot are vouched for by the next."""

    root: Metadata[Root]
    targets: Metadata[Targets]
    snapshot: Metadata[Snapshot]
    timestamp: Metadata[Timestamp]

    def role(self, name: str) -> Metadata:
        return getattr(self, name)

    def keyids(self, name: str) -> list[str]:
        return self.root.signed.roles[name].keyids

    def expires(self) -> dict[str, datetime]:
        return {name: self.role(name).signed.expires for name in EXPIRY_DAYS}


def metadata_dir(path: Path) -> Path:
    return path / "metadata"


def existing(path: Path) -> Path:
    """The metadata folder of a catalogue that is there."""
    if not metadata_dir(path).is_dir():
        raise DeliveryError(f"there is no catalogue at {path}; deliver init makes one")
    return metadata_dir(path)


def targets_dir(path: Path) -> Path:
    return path / "targets"


def file_of(path: Path, target: TargetFile) -> Path:
    """Where a target lies: under the name that its digest gives it."""
    return targets_dir(path) / target.get_prefixed_paths()[0]


def load(path: Path, unverified: str = "") -> State:
    """The newest state. Expiry is the caller's; the signature of `unverified` is not asked for, its digest still is."""
    with told(path):
        root = _root(path)
        timestamp = _read(path, "timestamp", root, unverified)
        vouched = timestamp.signed.snapshot_meta
        snapshot = _read(path, "snapshot", root, unverified, vouched)
        targets = _read(path, "targets", root, unverified, snapshot.signed.meta["targets.json"])
    return State(root, targets, snapshot, timestamp)


def _root(path: Path) -> Metadata[Root]:
    """The last of the chain; each root is signed by its predecessor and by itself."""
    existing(path)
    metadata = _parsed(path, "1.root.json", "root")
    metadata.signed.verify_delegate("root", metadata.signed_bytes, metadata.signatures)
    while (metadata_dir(path) / f"{metadata.signed.version + 1}.root.json").exists():
        following = _parsed(path, f"{metadata.signed.version + 1}.root.json", "root")
        if following.signed.version != metadata.signed.version + 1:
            raise DeliveryError(f"{path} has a root of version {following.signed.version} in another one's place; its "
                                "publisher restores it")  # fmt: skip
        for judge in (metadata, following):
            judge.signed.verify_delegate("root", following.signed_bytes, following.signatures)
        metadata = following
    return metadata


def _read(path: Path, role: str, root: Metadata[Root], unverified: str, vouched: MetaFile | None = None) -> Metadata:
    metadata = _parsed(path, f"{vouched.version}.{role}.json" if vouched else f"{role}.json", role, vouched)
    if role != unverified:
        root.signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    return metadata


def _parsed(path: Path, name: str, role: str, vouched: MetaFile | None = None) -> Metadata:
    place = metadata_dir(path) / name
    try:
        data = place.read_bytes()
    except OSError as error:
        raise DeliveryError(f"cannot read {place}: {error.strerror}; its publisher restores it") from error
    if vouched:
        vouched.verify_length_and_hashes(data)
    metadata: Metadata = Metadata.from_bytes(data)
    if metadata.signed.type != role:
        raise DeliveryError(f"{place} holds {metadata.signed.type} metadata; its publisher restores it")
    return metadata


def refuse_expired(state: State, path: Path, now: datetime) -> None:
    """Building on an old state would hide that somebody put it there."""
    for role, expires in state.expires().items():
        if now >= expires:
            raise DeliveryError(f"{role} of {path} expired on {expires:%Y-%m-%d}; deliver list shows whether this is "
                                "the newest state, deliver renew signs it anew")  # fmt: skip


@contextmanager
def editing(path: Path, unverified: str = "") -> Iterator[State]:
    """The newest state, for one publisher at a time; whatever happens inside, no half-written file stays."""
    with told(path), locked(existing(path), DeliveryError):
        state = load(path, unverified)
        try:
            yield state
        finally:
            with suppress(OSError, DeliveryError):
                sweep(path)


def publish(path: Path, state: State, signers: Mapping[str, Sequence[Signer]], now: datetime) -> None:
    """Sign the roles in `signers` anew, which must be one of VOUCHED and all behind it; timestamp.json last."""
    files = {}
    for role in (role for role in VOUCHED if role in signers):
        data = resigned(state, role, signers[role], now)
        version = state.role(role).signed.version
        if role == "targets":
            state.snapshot.signed.meta["targets.json"] = MetaFile.from_data(version, data, ["sha256"])
        if role == "snapshot":
            state.timestamp.signed.snapshot_meta = MetaFile.from_data(version, data, ["sha256"])
        files["timestamp.json" if role == "timestamp" else f"{version}.{role}.json"] = data
    for name, data in files.items():
        write_bytes(metadata_dir(path) / name, data)


def publish_root(path: Path, state: State, signers: Sequence[Signer], now: datetime) -> None:
    """A root is in force as soon as it is there: clients look for the next number."""
    data = resigned(state, "root", signers, now)
    write_bytes(metadata_dir(path) / f"{state.root.signed.version}.root.json", data)


def resigned(state: State, role: str, signers: Sequence[Signer], now: datetime) -> bytes:
    """The next version of a role's metadata; it stays in `state`."""
    metadata = state.role(role)
    metadata.signed.version += 1
    metadata.signed.expires = now + timedelta(days=EXPIRY_DAYS[role])
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def sweep(path: Path) -> None:
    """Remove what the published state does not name: removed models, and remains of a change that was cut short."""
    state = load(path)
    named = {file_of(path, target) for target in state.targets.signed.targets.values()}
    for file in sorted(targets_dir(path).rglob("*"), reverse=True):  # what is in a folder comes before it
        if file.is_dir():
            with suppress(OSError):  # it holds something
                file.rmdir()
        elif file not in named:
            file.unlink()
    for file in metadata_dir(path).iterdir():
        if file.is_dir():
            shutil.rmtree(file)
        elif found := re.fullmatch(r"(\d+)\.(targets|snapshot)\.json", file.name):
            if int(found[1]) > state.role(found[2]).signed.version:
                file.unlink()


def utc_now() -> datetime:
    return datetime.now(UTC)
