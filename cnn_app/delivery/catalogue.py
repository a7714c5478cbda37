"""What a publisher does with a catalogue. Every change is published whole or not at all.

`now` is the time of signing; it is an argument so that it can be another than the clock's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from packaging.version import Version
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from cnn_app.atomic import replacing, write_bytes
from cnn_app.delivery import repository
from cnn_app.delivery.entry import Entry, of_target
from cnn_app.delivery.exported import Exported
from cnn_app.delivery.keys import ROLES, Keys
from cnn_app.delivery.repository import VOUCHED, State, editing, file_of, publish, publish_root, utc_now
from cnn_app.errors import DeliveryError, unknown

HIGHEST = "x-cnn-app-highest"  # in signed targets metadata: track -> the highest version that was ever published


@dataclass(frozen=True)
class Listing:
    entries: list[Entry]
    expires: dict[str, datetime]  # role -> when its signature does


def create(path: Path, keys: Keys, now: datetime | None = None) -> Path:
    """An empty catalogue, and the keys that are not there yet. Returns the root metadata that apps ship."""
    now = now or utc_now()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DeliveryError(f"{path} is not empty; choose another place for the catalogue")
    if keys.folder and keys.folder.resolve().is_relative_to(path.resolve()):
        raise DeliveryError(f"{keys.folder} would be published with the catalogue; keep the keys elsewhere")
    signers = {role: keys.make(role) for role in ROLES}
    state = State(Metadata(Root()), Metadata(Targets()), Metadata(Snapshot()), Metadata(Timestamp()))
    state.targets.signed.unrecognized_fields[HIGHEST] = {}
    for role, signer in signers.items():
        state.root.signed.add_key(signer.public_key, role)
        state.role(role).signed.version = 0  # publishing counts up
    with replacing(path) as scratch:
        repository.targets_dir(scratch).mkdir(parents=True)
        publish_root(scratch, state, [signers["root"]], now)
        publish(scratch, state, {role: [signers[role]] for role in VOUCHED}, now)
    return repository.metadata_dir(path) / "1.root.json"


def listing(path: Path) -> Listing:
    """All models, withdrawn ones too, sorted by name, channel, device and version."""
    state = repository.load(path)
    return Listing(_entries(state), state.expires())


def add(path: Path, model: Exported, entry: Entry, keys: Keys, now: datetime | None = None) -> Entry:
    """Publish `model` as `entry`, whose version is above every one that its track ever had."""
    now = now or utc_now()
    with editing(path) as state:
        repository.refuse_expired(state, path, now)
        signers, targets = _signers(state, keys), state.targets.signed
        highest = targets.unrecognized_fields.setdefault(HIGHEST, {})
        if (last := highest.get(entry.track)) and entry.number <= Version(last):
            raise DeliveryError(f"{entry.version} is not above {last}, the highest version of {entry.track} that was "
                                "ever published; clients would not see it as new")  # fmt: skip
        highest[entry.track] = str(entry.number)
        files = {entry.path: model.data} | ({entry.golden_path: model.answers} if model.answers else {})
        for name, data in files.items():
            targets.targets[name] = TargetFile.from_data(name, data)
            write_bytes(file_of(path, targets.targets[name]), data)
        targets.targets[entry.path].unrecognized_fields["custom"] = entry.custom()
        publish(path, state, signers, now)
        added = of_target(targets.targets[entry.path])
    assert added is not None
    return added


def remove(
    path: Path, name: str, version: str, channel: str, device: str, keys: Keys, now: datetime | None = None
) -> Entry:
    """Take a model out; its files go once the catalogue without it is published."""
    now = now or utc_now()
    with editing(path) as state:
        repository.refuse_expired(state, path, now)
        signers = _signers(state, keys)
        asked, entries = Entry(name=name, version=version, channel=channel, device=device), _entries(state)
        found = [entry for entry in entries if (entry.track, entry.number) == (asked.track, asked.number)]
        if not found:
            raise unknown("entry", _shown(asked), map(_shown, entries), DeliveryError)
        for file in (found[0].path, found[0].golden_path):
            state.targets.signed.targets.pop(file, None)
        publish(path, state, signers, now)
    return found[0]


def rollback(
    path: Path, name: str, to: str | None, channel: str, keys: Keys, now: datetime | None = None
) -> list[Entry]:
    """Withdraw what is newer than `to`, or the newest version: clients go back. Returns what was withdrawn."""
    now = now or utc_now()
    with editing(path) as state:
        repository.refuse_expired(state, path, now)
        signers = _signers(state, keys)
        offered = [entry for entry in _entries(state) if entry.channel == channel and not entry.withdrawn]
        goal = _goal(name, to, offered, channel)
        newer = [replace(entry, withdrawn=True) for entry in offered if entry.name == name and entry.number > goal]
        for entry in newer:
            state.targets.signed.targets[entry.path].unrecognized_fields["custom"] = entry.custom()
        if newer:
            publish(path, state, signers, now)
    return newer


def renew(path: Path, keys: Keys, now: datetime | None = None) -> dict[str, datetime]:
    """Sign snapshot and timestamp for another term; root and targets, too, once half of theirs is over.

    Root's and targets' keys may lie elsewhere as long as their signatures are good. Returns when each expires.
    """
    now = now or utc_now()
    with editing(path) as state:
        due = {role: [keys.signer(role, state.keyids(role))] for role in ("snapshot", "timestamp")}
        for role in ("root", "targets"):
            left = (state.role(role).signed.expires - now).total_seconds() / 86400
            if left <= 0:
                due[role] = [keys.signer(role, state.keyids(role))]
            elif left < repository.EXPIRY_DAYS[role] / 2 and (signer := keys.find(role, state.keyids(role))):
                due[role] = [signer]
        if "root" in due:
            publish_root(path, state, due["root"], now)
        publish(path, state, due, now)
    return state.expires()


def rotate(path: Path, role: str, keys: Keys, now: datetime | None = None) -> Path:
    """Give `role` a new key. Returns the file of the new key; the old one is of no use from then on.

    The role's metadata is signed by both keys first, so that it is good before and behind the new root. Where the old
    key is lost, the new root has to come first.
    """
    now = now or utc_now()
    with editing(path, unverified=role) as state:
        root, former = state.root.signed, list(state.keyids(role))
        judge, old = keys.signer("root", state.keyids("root")), keys.find(role, former)
        behind = VOUCHED[VOUCHED.index(role) + 1 :] if role in VOUCHED else ()
        others = {name: [keys.signer(name, state.keyids(name))] for name in behind}
        new = keys.prepare(role)
        if old and new.public_key.keyid not in former:
            repository.load(
                path
            )  # only a lost key's signature may be missing, or one that an interrupted rotation owes
        both = {signer.public_key.keyid: signer for signer in (old, new) if signer}
        resign = {role: list(both.values())} | others if role in VOUCHED else {}
        if old:
            publish(path, state, resign, now)
        if new.public_key.keyid not in former:
            for keyid in former:
                root.revoke_key(keyid, role)
            root.add_key(new.public_key, role)
            publish_root(path, state, [judge, new] if role == "root" else [judge], now)
        if not old:
            publish(path, state, resign, now)
        return keys.settle(role)


def _signers(state: State, keys: Keys) -> dict:
    """The keys of a change to the models. Asked for first: nothing is written where one is missing."""
    return {role: [keys.signer(role, state.keyids(role))] for role in VOUCHED}


def _entries(state: State) -> list[Entry]:
    found = [entry for target in state.targets.signed.targets.values() if (entry := of_target(target))]
    return sorted(found, key=lambda entry: (entry.track, entry.number))


def _goal(name: str, to: str | None, offered: list[Entry], channel: str) -> Version:
    """The version to go back to, which clients can get."""
    if name not in {entry.name for entry in offered}:
        raise unknown(f"model in channel {channel}", name, {entry.name for entry in offered}, DeliveryError)
    versions = sorted({entry.number for entry in offered if entry.name == name})
    if to is None and len(versions) == 1:
        raise DeliveryError(f"{versions[0]} is the only version of {name} in channel {channel}; there is none to go "
                            "back to: deliver remove takes it out")  # fmt: skip
    goal = versions[-2] if to is None else Entry(name=name, version=to).number
    if goal not in versions:
        raise unknown("version to go back to", str(goal), map(str, versions), DeliveryError)
    return goal


def _shown(entry: Entry) -> str:
    return f"{entry.track}/{entry.number}"
