"""What a catalogue says of a model file, and which file a client takes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from cnn_app.errors import DeliveryError, unknown

if TYPE_CHECKING:
    from tuf.api.metadata import TargetFile

SEEN = {"stable": ("stable",), "beta": ("beta", "stable")}  # channel -> the channels that its clients take from
ANY = "any"  # the device class that every device falls back to
SUFFIX, GOLDEN_SUFFIX = ".tflite", ".golden.npz"
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # in a path, an address and a bucket
REASONS = 3  # shown at most, of the newest versions


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A model file of the catalogue; everything but `bytes` and `sha256` is in the `custom` field of its target."""

    name: str
    version: str
    channel: str = "stable"
    device: str = ANY
    kind: str = "tflite"  # the export target
    min_app: str = ""
    min_runtime: str = ""
    withdrawn: bool = False
    bytes: int = 0
    sha256: str = ""

    def __post_init__(self):
        for what, text in (("name", self.name), ("device class", self.device)):
            if not (isinstance(text, str) and SAFE.fullmatch(text)):
                raise DeliveryError(f"{text!r} is no {what}; up to 64 letters, digits, dots, dashes and underscores")
        if self.channel not in SEEN:
            raise unknown("channel", str(self.channel), SEEN, DeliveryError)
        parsed(self.version, "the model's version")
        for text, what in ((self.min_app, "the app's version"), (self.min_runtime, "the runtime's version")):
            if text:
                parsed(text, what)

    @property
    def number(self) -> Version:
        return Version(self.version)

    @property
    def track(self) -> str:
        """Within which versions only go up."""
        return f"{self.name}/{self.channel}/{self.device}"

    @property
    def path(self) -> str:
        return f"{self.track}/{self.number}/{self.name}{SUFFIX}"

    @property
    def golden_path(self) -> str:
        return self.path.removesuffix(SUFFIX) + GOLDEN_SUFFIX

    def custom(self) -> dict:
        return {key: value for key, value in asdict(self).items() if key not in ("bytes", "sha256")}


def of_target(target: TargetFile) -> Entry | None:
    """The entry that a target's `custom` field holds; None for golden answers, which have none."""
    if target.custom is None:
        return None
    try:
        entry = Entry(**target.custom, bytes=target.length, sha256=target.hashes["sha256"])
    except (TypeError, KeyError) as error:
        raise DeliveryError(f"{target.path} is described in a way that this version does not know: {error}; "
                            "update cnn-app") from error  # fmt: skip
    if entry.path != target.path:
        raise DeliveryError(f"{target.path} is described as {entry.path}; its publisher removes it and adds it again")
    return entry


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a client asks for; an empty version sets no limit."""

    name: str
    channel: str = "stable"
    device: str = ANY
    app: str = ""
    runtime: str = ""

    def obstacle(self, entry: Entry) -> str:
        """Why `entry` cannot be taken; empty if it can."""
        for what, needed, given in (("app", entry.min_app, self.app), ("runtime", entry.min_runtime, self.runtime)):
            if needed and given and parsed(needed, what) > parsed(given, f"the {what}'s version"):
                return f"needs {what} {needed}, yours is {given}"
        return ""


def choose(entries: Iterable[Entry], wanted: Wanted) -> Entry:
    """The highest version that fits. Of equal ones, the one for this very device, then for this very channel."""
    entries = list(entries)
    if wanted.channel not in SEEN:
        raise unknown("channel", wanted.channel, SEEN, DeliveryError)
    names = {entry.name for entry in entries}
    if not names:
        raise DeliveryError("the catalogue is empty; deliver add puts a model into it")
    if wanted.name not in names:
        raise unknown("model", wanted.name, names, DeliveryError)
    reasons = []
    for entry in sorted(_offered(entries, wanted), key=lambda entry: _rank(entry, wanted), reverse=True):
        reason = wanted.obstacle(entry)
        if not reason:
            return entry
        reasons.append(f"{entry.version} {reason}")
    if reasons:
        raise DeliveryError(f"no version of {wanted.name} fits: {'; '.join(reasons[:REASONS])}")
    tracks = sorted({f"{entry.channel}/{entry.device}" for entry in entries if entry.name == wanted.name})
    raise DeliveryError(f"nothing of {wanted.name} is published for channel {wanted.channel} and device class "
                        f"{wanted.device}; the catalogue knows it as {', '.join(tracks)}")  # fmt: skip


def _offered(entries: list[Entry], wanted: Wanted) -> list[Entry]:
    return [
        entry for entry in entries
        if entry.name == wanted.name and not entry.withdrawn
        and entry.channel in SEEN[wanted.channel] and entry.device in (ANY, wanted.device)
    ]  # fmt: skip


def _rank(entry: Entry, wanted: Wanted) -> tuple:
    return entry.number, entry.device == wanted.device, entry.channel == wanted.channel


def parsed(text: str, what: str) -> Version:
    try:
        version = Version(text)
    except (InvalidVersion, TypeError):
        raise DeliveryError(f"{what} {text!r} is no version; write one like 1.2.0") from None
    if version.epoch or version.local:  # ! and + are not the same character in every bucket's addresses
        raise DeliveryError(f"{what} {text!r} has an epoch or a local part; write one like 1.2.0")
    return version
