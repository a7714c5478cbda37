"""A catalogue and its client against what can go wrong: attacks, broken files, full disks, and processes that die."""

import errno
import fcntl
import functools
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata as packages
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from packaging.version import Version
from tuf.api.metadata import Metadata, Targets
from tuf.ngclient import Updater

from cnn_app.artifacts import Card, ModelDir, sha256
from cnn_app.cli.main import cli
from cnn_app.delivery import catalogue, client, exported, repository
from cnn_app.delivery.entry import SEEN, Entry, Wanted, choose, of_target
from cnn_app.delivery.exported import Exported
from cnn_app.delivery.keys import ROLES, Keys
from cnn_app.delivery.repository import EXPIRY_DAYS, utc_now
from cnn_app.errors import CnnAppError, DeliveryError
from cnn_app.export import golden

ALL = Wanted(name="photos")


def model_bytes(seed, size=5_000):
    """What passes for a TFLite file where no interpreter looks."""
    return b"\x1c\0\0\0TFL3" + np.random.default_rng(seed).bytes(size)


class Keeper:
    """A catalogue with its keys, a client's output, and the bytes of every version."""

    def __init__(self, folder):
        self.path, self.keys, self.out = folder / "models", Keys(folder / "keys"), folder / "app" / "photos.tflite"
        self.root = folder / "root.json"
        self.published = {}

    def create(self, now=None):
        shutil.copy(catalogue.create(self.path, self.keys, now), self.root)
        return self

    def add(self, version, now=None, data=None, **about):
        data = data or model_bytes(len(self.published))
        entry = Entry(**{"name": "photos", "version": version} | about)
        added = catalogue.add(self.path, Exported(data, None), entry, self.keys, now)
        self.published[added.track, version] = data
        return added

    def rollback(self, to=None):
        return catalogue.rollback(self.path, "photos", to, "stable", self.keys)

    def fetch(self, source=None, wanted=ALL, root=None):
        return client.fetch(str(source or self.path), wanted, root=root or self.root, out=self.out)

    def has(self, version, track="photos/stable/any"):
        return self.out.read_bytes() == self.published[track, version]

    def metadata(self, name):
        return self.path / "metadata" / name

    def file(self, entry):
        return next(self.path.rglob(f"{entry.sha256}.*"))


@pytest.fixture
def keeper(tmp_path):
    return Keeper(tmp_path).create()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


def tree(folder):
    """All files below a folder with their bytes, hidden ones and folders too."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def flip(path, where=-20):
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)


@contextmanager
def refused(text, *folders, error=DeliveryError):
    """One line that matches `text`, and not a byte changed in `folders`."""
    before = [tree(folder) for folder in folders]
    with pytest.raises(error, match=text) as caught:
        yield
    assert "\n" not in str(caught.value)
    assert [tree(folder) for folder in folders] == before


class Loopback(SimpleHTTPRequestHandler):
    """Serves a folder with ranges; `cut` is after how many bytes of a model the connection breaks."""

    def do_GET(self):
        path, settings = Path(self.translate_path(self.path)), self.server.settings
        asked = self.headers.get("Range")
        settings["requests"].append((self.path, asked))
        if not path.is_file():
            return self.send_error(settings.get("missing", 404))
        data = path.read_bytes() + settings.get("more", {}).get(path.suffix, b"")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and settings.get("ranges", True) else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        cut = settings.get("cut") if path.suffix == ".tflite" else None
        self.wfile.write(data[start:][:cut])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(keeper):
    """(address, settings) of the keeper's catalogue; settings["requests"] lists what was asked for."""
    handler = functools.partial(Loopback, directory=str(keeper.path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        http.settings = {"requests": []}
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", http.settings
        http.shutdown()
        thread.join()


# What a keeper does, and what clients get.


def test_what_is_published_is_what_is_fetched(keeper):
    first = keeper.add("1.0.0", kind="tflite-int8", min_runtime="1.14.0")
    assert first.bytes == 5_008 and first.kind == "tflite-int8" and first.track == "photos/stable/any"
    fetched = keeper.fetch()
    assert fetched.changed and fetched.entry == first and keeper.has("1.0.0") and sha256(keeper.out) == first.sha256
    assert not keeper.fetch().changed
    second = keeper.add("1.1.0")
    assert keeper.fetch().changed and keeper.has("1.1.0")
    assert keeper.rollback() == [replace(second, withdrawn=True)]
    assert keeper.fetch().entry.version == "1.0.0" and keeper.has("1.0.0")
    assert [(entry.version, entry.withdrawn) for entry in catalogue.listing(keeper.path).entries] == [
        ("1.0.0", False), ("1.1.0", True)
    ]  # fmt: skip
    assert keeper.file(second).read_bytes() == keeper.published["photos/stable/any", "1.1.0"]
    assert catalogue.remove(keeper.path, "photos", "1.1", "stable", "any", keeper.keys).sha256 == second.sha256
    assert not list(keeper.path.rglob(f"{second.sha256}*")) and not keeper.fetch().changed
    assert sorted(path.name for path in keeper.out.parent.iterdir()) == [".photos.tflite-tuf", "photos.tflite"]


def test_the_files_are_those_of_the_tuf_specification(keeper):
    """Consistent snapshots: versions and digests in front of the names; every role has a key and a term of its own."""
    entry = keeper.add("1.0.0")
    names = {path.name for path in keeper.metadata("").iterdir()}
    assert names == {
        "1.root.json",
        "timestamp.json",
        *(f"{n}.{r}.json" for n in (1, 2) for r in ("targets", "snapshot")),
    }
    assert keeper.file(entry).relative_to(keeper.path).as_posix() == (
        f"targets/photos/stable/any/1.0.0/{entry.sha256}.photos.tflite"
    )
    root = json.loads(keeper.metadata("1.root.json").read_text())["signed"]
    assert root["consistent_snapshot"] and len(root["keys"]) == 4
    targets = Metadata[Targets].from_file(str(keeper.metadata("2.targets.json"))).signed.targets
    assert of_target(targets[entry.path]) == entry and targets[entry.path].custom["version"] == "1.0.0"
    for role, when in catalogue.listing(keeper.path).expires.items():
        assert timedelta(0) <= utc_now() + timedelta(days=EXPIRY_DAYS[role]) - when < timedelta(minutes=10)


def test_another_tuf_client_reads_it(keeper, server, tmp_path):
    entry = keeper.add("1.0.0")
    plain = Updater(str(tmp_path), f"{server[0]}/metadata", str(tmp_path), f"{server[0]}/targets",
                    bootstrap=keeper.root.read_bytes())  # fmt: skip
    found = plain.get_targetinfo(entry.path)
    assert found.custom["name"] == "photos" and sha256(Path(plain.download_target(found))) == entry.sha256


@pytest.mark.parametrize("version", ["1.0.0", "1.0", "0.9", "1.0.0rc1", "1.1.0", "1.2"])
def test_a_version_never_goes_backwards(keeper, version):
    """Nor may one come again that was withdrawn or removed."""
    for published in ("1.0.0", "1.1.0", "1.2.0"):
        keeper.add(published)
    keeper.rollback("1.1.0")
    catalogue.remove(keeper.path, "photos", "1.2.0", "stable", "any", keeper.keys)
    with refused(rf"{version} is not above 1.2.0, the highest version of photos/stable/any", keeper.path):
        keeper.add(version)
    for track in ({"channel": "beta"}, {"device": "npu"}, {"name": "faces"}):
        keeper.add(version, **track)
    keeper.add("1.10.0")
    assert keeper.fetch().entry.version == "1.10.0"


def test_rollback_goes_to_a_version_that_is_offered(keeper):
    with refused("no model in channel stable named 'photos'", keeper.path):
        keeper.rollback()
    for version in ("1.0", "1.1", "1.2", "1.3"):
        keeper.add(version)
    keeper.add("2.0", name="faces")
    assert [entry.version for entry in keeper.rollback()] == ["1.3"]
    with refused("no version to go back to named '1.3'; known: 1.0, 1.1, 1.2", keeper.path):
        keeper.rollback("1.3")
    before = tree(keeper.path)
    assert keeper.rollback("1.2") == [] and tree(keeper.path) == before
    assert [entry.version for entry in keeper.rollback("1.0")] == ["1.1", "1.2"]
    with refused("1.0 is the only version of photos .* deliver remove takes it out", keeper.path):
        keeper.rollback()
    assert keeper.fetch(wanted=Wanted(name="faces")).entry.version == "2.0"


def test_which_version_a_client_takes():
    entries = [
        Entry(name="photos", version="1.0", min_app="1.0"),
        Entry(name="photos", version="1.2", min_app="1.4", min_runtime="2.14"),
        Entry(name="photos", version="2.0", min_app="2.0"),
        Entry(name="photos", version="1.3", channel="beta"),
        Entry(name="photos", version="1.2", device="npu"),
        Entry(name="photos", version="3.0", withdrawn=True),
    ]
    for wanted, version, track in (
        ({}, "2.0", "stable/any"),
        ({"app": "1.10"}, "1.2", "stable/any"),
        ({"app": "1.4", "runtime": "2.9"}, "1.0", "stable/any"),
        ({"app": "1.4", "device": "npu"}, "1.2", "stable/npu"),
        ({"app": "1.4", "device": "gpu"}, "1.2", "stable/any"),
        ({"app": "1.4", "channel": "beta"}, "1.3", "beta/any"),
        ({"channel": "beta"}, "2.0", "stable/any"),
    ):
        found = choose(entries, replace(ALL, **wanted))
        assert (found.version, found.track) == (version, f"photos/{track}"), wanted
    with pytest.raises(
        DeliveryError, match=r"no version of photos fits: 2.0 needs app 2.0, yours is 0.9; 1.2 needs app"
    ):
        choose(entries[:3], replace(ALL, app="0.9"))
    with pytest.raises(DeliveryError, match=r"1.2 needs runtime 2.14, yours is 2.9$"):
        choose(entries[1:2], replace(ALL, runtime="2.9"))
    with pytest.raises(DeliveryError, match="no model named 'photo'; known: photos"):
        choose(entries, Wanted(name="photo"))
    with pytest.raises(DeliveryError, match="channel stable and device class any; the catalogue knows it as beta/any$"):
        choose(entries[3:4], ALL)
    with pytest.raises(DeliveryError, match="the catalogue is empty"):
        choose([], ALL)
    with pytest.raises(DeliveryError, match="the app's version 'new' is no version"):
        choose(entries, replace(ALL, app="new"))
    with pytest.raises(DeliveryError, match="no channel named 'nightly'; known: beta, stable"):
        choose(entries, replace(ALL, channel="nightly"))


@pytest.mark.parametrize(
    "values",
    [{"name": "../up"}, {"name": "a b"}, {"name": ""}, {"name": "é"}, {"device": "a/b"}, {"version": "new"},
     {"version": "1.0+x"}, {"version": "1!1.0"}, {"version": None}, {"channel": "x"}, {"min_app": "?"}],
    ids=str,
)  # fmt: skip
def test_what_would_be_no_path_or_version_is_refused(keeper, values):
    with refused("is no|no channel named|epoch or a local part", keeper.path):
        keeper.add(**{"version": "1.0"} | values)


def test_targets_that_are_described_in_another_way_are_told(keeper):
    keeper.add("1.0.0")
    target = next(iter(repository.load(keeper.path).targets.signed.targets.values()))
    target.custom["max_app"] = "3.0"
    with pytest.raises(DeliveryError, match="does not know: .*max_app.*; update cnn-app"):
        of_target(target)
    del target.custom["max_app"]
    target.custom["version"] = "9.0"
    with pytest.raises(DeliveryError, match="is described as photos/stable/any/9.0/photos.tflite"):
        of_target(target)


def test_what_is_no_file_of_an_export_or_was_changed_since_is_refused(tmp_path):
    directory = ModelDir(tmp_path / "store" / "photos")
    file = directory.mobile / "photos-int8.tflite"
    file.parent.mkdir(parents=True)
    file.write_bytes(model_bytes(0))
    assert exported.read(file) == Exported(model_bytes(0), None)
    directory.write_card(Card(architecture="a", columns={}, labels=("x", "y"), image=(8, 8, 1)))
    line = {
        "path": "mobile/photos-int8.tflite",
        "sha256": sha256(file),
        "target": "tflite-int8",
        "min_runtime": "2.3.0",
    }
    directory.add_exports([line])
    assert exported.read(file) == Exported(model_bytes(0), None, "photos", "tflite-int8", "2.3.0")
    flip(file)
    with refused("was changed since it was exported; export it again", tmp_path):
        exported.read(file)
    for name, data in (("x.tflite", b"nothing"), ("x.onnx", model_bytes(0)), ("empty.tflite", b"")):
        (tmp_path / name).write_bytes(data)
        with refused("is no TFLite file", tmp_path):
            exported.read(tmp_path / name)
    with refused("cannot read .*directory", tmp_path):
        exported.read(tmp_path)


# Keys.


def test_keys_are_for_their_owner_only(keeper):
    assert stat.S_IMODE(keeper.keys.folder.stat().st_mode) == 0o700
    for role in ROLES:
        path = keeper.keys.folder / f"{role}.pem"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and b"BEGIN PRIVATE KEY" in path.read_bytes()
    assert len(list(keeper.keys.folder.iterdir())) == 4


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_a_key_that_others_can_read_is_refused(keeper, role, mode):
    keeper.add("1.0.0")
    (keeper.keys.folder / f"{role}.pem").chmod(mode)
    with refused(rf"{role}.pem has mode {mode:o}, .* chmod 600 ", keeper.path):
        keeper.add("1.1.0")
    assert keeper.fetch().entry.version == "1.0.0"


def test_keys_come_from_the_environment(keeper):
    environment = {f"CNN_APP_KEY_{role.upper()}": (keeper.keys.folder / f"{role}.pem").read_text() for role in ROLES}
    keeper.keys = Keys(None, {name: pem for name, pem in environment.items() if "ROOT" not in name})
    keeper.add("1.0.0")
    assert keeper.fetch().changed
    assert "PRIVATE" not in repr(keeper.keys)
    keeper.keys = Keys(None, {})
    with refused("there is no targets key; .* --keys DIR, or in CNN_APP_KEY_TARGETS", keeper.path):
        keeper.add("1.1.0")
    keeper.keys = Keys(None, environment | {"CNN_APP_KEY_TARGETS": environment["CNN_APP_KEY_ROOT"]})
    with refused("CNN_APP_KEY_TARGETS is not the targets key of this catalogue", keeper.path):
        keeper.add("1.1.0")
    with refused("a new key needs a place; give --keys DIR", keeper.path):
        catalogue.rotate(keeper.path, "timestamp", Keys(None, environment))


def test_what_is_no_key_is_refused(keeper):
    path = keeper.keys.folder / "targets.pem"
    locked = keeper.keys.make("targets")._private_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    for content in (b"", b"nonsense", locked, path.read_bytes()[:60]):
        path.write_bytes(content)
        with refused("targets.pem holds no Ed25519 key", keeper.path):
            keeper.add("1.0.0")


def test_keys_are_not_published_with_the_catalogue(tmp_path):
    with refused("keep the keys elsewhere", tmp_path):
        catalogue.create(tmp_path / "models", Keys(tmp_path / "models" / "keys"))


def test_a_catalogue_is_made_in_an_empty_place_with_the_keys_that_are_there(keeper, tmp_path):
    with refused("is not empty; choose another place", tmp_path):
        catalogue.create(keeper.path, keeper.keys)
    keys = tree(keeper.keys.folder)
    catalogue.create(tmp_path / "other", keeper.keys)
    assert tree(keeper.keys.folder) == keys
    with refused("there is no catalogue at .*; deliver init makes one", tmp_path):
        catalogue.listing(tmp_path / "app")


# Attacks and broken catalogues.


@pytest.mark.parametrize("name", ["1.root.json", "2.targets.json", "2.snapshot.json", "timestamp.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "deep", "gone", "other type"])
def test_a_broken_signature_is_refused_by_keeper_and_client(keeper, name, harm):
    keeper.add("1.0.0")
    keeper.fetch()
    file = keeper.metadata(name)
    data = file.read_bytes()
    expires = data.index(b'"expires":"20')  # one digit of a year makes a signature that is good for nothing
    changes = {"flip": data[: expires + 13] + b"9" + data[expires + 14 :], "cut": data[:-30], "empty": b"",
               "deep": b"[" * 100_000, "other type": keeper.metadata("1.targets.json").read_bytes()}  # fmt: skip
    file.write_bytes(changes[harm]) if harm in changes else file.unlink()
    for change in (
        lambda: keeper.add("1.1.0"),
        keeper.rollback,
        lambda: catalogue.renew(keeper.path, keeper.keys),
        lambda: catalogue.rotate(keeper.path, "timestamp", keeper.keys),
        lambda: catalogue.listing(keeper.path),
    ):
        with refused("signature of|cannot be read|other bytes|holds targets|cannot read", keeper.path):
            change()
    shutil.rmtree(keeper.out.parent / ".photos.tflite-tuf")  # a client that has seen nothing yet
    if name != "1.root.json":  # that one the client has
        with refused("signature of|cannot be read|other bytes|sends more|not consistent|is not there"):
            keeper.fetch()
    assert keeper.has("1.0.0")


@pytest.mark.parametrize(
    "role, days, known",
    [("timestamp", 31, True), ("timestamp", 31, False), ("targets", 366, False), ("root", 731, True)],
)
def test_an_expired_catalogue_is_refused_until_it_is_renewed(tmp_path, role, days, known):
    """A freeze attack: a server that goes on showing what was once signed, also to a client that knows it already."""
    then = utc_now() - timedelta(days=days)
    expired = then + timedelta(days=EXPIRY_DAYS[role])
    keeper = Keeper(tmp_path).create(then)
    keeper.add("1.0.0", then)
    if role != "timestamp":  # what is signed for a shorter term was kept up
        kept = ROLES[ROLES.index(role) + 1 :]
        catalogue.renew(keeper.path, Keys(None, environment(keeper, *kept)), expired - timedelta(days=1))
    if known:
        keeper.out.parent.mkdir()
        keeper.out.write_bytes(b"old")
    for attempt in range(2):
        with refused(rf"{role} of .* expired on {expired:%Y-%m-%d}: its keeper runs deliver renew"):
            keeper.fetch()
        assert keeper.out.read_bytes() == b"old" if known else not keeper.out.exists(), attempt
    with refused(rf"of .* expired on {expired:%Y-%m-%d}; deliver list shows .*, deliver renew", keeper.path):
        keeper.add("1.1.0")
    assert catalogue.listing(keeper.path).expires[role] < utc_now()
    assert all(when > utc_now() for when in catalogue.renew(keeper.path, keeper.keys).values())
    assert keeper.fetch().entry.version == "1.0.0"
    keeper.add("1.1.0")
    assert keeper.fetch().entry.version == "1.1.0"


def environment(keeper, *roles):
    return {f"CNN_APP_KEY_{role.upper()}": (keeper.keys.folder / f"{role}.pem").read_text() for role in roles}


def test_renewing_leaves_root_and_targets_alone_until_half_their_term(keeper):
    listed = catalogue.listing(keeper.path).expires
    online = Keys(None, environment(keeper, "snapshot", "timestamp"))
    for days in (20, 183, 364):
        expires = catalogue.renew(keeper.path, online, utc_now() + timedelta(days=days))
        assert {role for role in ROLES if expires[role] > listed[role]} == {"snapshot", "timestamp"}
    with refused("there is no targets key", keeper.path):
        catalogue.renew(keeper.path, online, utc_now() + timedelta(days=370))
    expires = catalogue.renew(keeper.path, keeper.keys, utc_now() + timedelta(days=20))
    assert (expires["root"], expires["targets"]) == (listed["root"], listed["targets"])
    expires = catalogue.renew(keeper.path, keeper.keys, utc_now() + timedelta(days=183))
    assert expires["root"] == listed["root"] and expires["targets"] > listed["targets"]
    expires = catalogue.renew(keeper.path, keeper.keys, utc_now() + timedelta(days=366))
    assert expires["root"] > listed["root"] and keeper.metadata("2.root.json").exists()


@pytest.mark.parametrize("whole", [True, False])
def test_a_client_does_not_go_back_to_an_older_state(keeper, whole, tmp_path):
    """The rollback attack: everything, or the timestamp alone, as it was before."""
    keeper.add("1.0.0")
    keeper.fetch()
    shutil.copytree(keeper.path, tmp_path / "before")
    keeper.add("1.1.0")
    keeper.fetch()
    if not whole:
        shutil.copytree(keeper.path, tmp_path / "before", dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("timestamp.json"))  # fmt: skip
    for _ in range(2):
        with refused("goes backwards: New timestamp version 2 must be >= 3; an older state is shown"):
            keeper.fetch(tmp_path / "before")
        assert keeper.has("1.1.0")
    assert not keeper.fetch().changed


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_parts_of_different_states_are_not_mixed(keeper, role):
    keeper.add("1.0.0")
    keeper.fetch()
    keeper.add("1.1.0")
    shutil.copy(keeper.metadata(f"2.{role}.json"), keeper.metadata(f"3.{role}.json"))
    with refused("holds other bytes than were signed"):
        keeper.fetch()
    assert keeper.has("1.0.0")
    with refused("holds other bytes than were signed", keeper.path):
        keeper.add("1.2.0")


def test_a_flipped_byte_in_a_model_is_refused(keeper, server):
    address, settings = server
    keeper.add("1.0.0")
    keeper.fetch()
    file = keeper.file(keeper.add("1.1.0"))
    flip(file)
    for source in (address, keeper.path):
        with refused("holds other bytes than were signed: .*hash.*; its keeper uploads it again"):
            keeper.fetch(source)
        assert keeper.has("1.0.0") and not list(keeper.out.parent.rglob("*.part"))
    flip(file)
    assert keeper.fetch(address).changed and keeper.has("1.1.0")


def test_another_catalogue_is_not_trusted(keeper, tmp_path):
    other = Keeper(tmp_path / "other").create()
    other.add("9.0.0")
    keeper.add("1.0.0")
    keeper.fetch()
    with refused("the signature of .* is broken: timestamp was signed by 0/1 keys; .* root is this catalogue's"):
        keeper.fetch(other.path)
    shutil.copytree(keeper.metadata(""), other.metadata(""), dirs_exist_ok=True,
                    ignore=lambda *_: {"timestamp.json", "2.snapshot.json", "2.targets.json"})  # fmt: skip
    with refused("the signature of .* is broken"):
        keeper.fetch(other.path)
    assert keeper.has("1.0.0")
    for name, text in (("nowhere.json", "cannot read .*metadata/1.root.json"), ("large.json", "too large for root")):
        (tmp_path / "large.json").write_bytes(b" " * 600_000)
        with refused(text, tmp_path):
            keeper.fetch(root=tmp_path / name)
    (tmp_path / "bad.json").write_text("{}")
    with refused("metadata that cannot be read"):
        keeper.fetch(root=tmp_path / "bad.json")


def test_a_root_in_the_place_of_its_follower_is_refused(keeper):
    keeper.add("1.0.0")
    shutil.copy(keeper.metadata("1.root.json"), keeper.metadata("2.root.json"))
    with refused("has a root of version 1 in another one's place", keeper.path):
        keeper.add("1.1.0")
    with refused("goes backwards: Expected root version 2", keeper.path):
        keeper.fetch()


def test_endless_answers_are_cut_short(keeper, server):
    """Metadata ends at TUF's limits, a model at its signed length."""
    address, settings = server
    keeper.add("1.0.0")
    keeper.fetch()
    keeper.add("1.1.0", data=model_bytes(7, 600_000))
    for suffix, extra in ((".json", b" " * 20_000), (".tflite", b"x")):
        settings["more"] = {suffix: extra}
        with refused("sends more than was signed: .*; its keeper uploads it again"):
            keeper.fetch(address)
        assert keeper.has("1.0.0") and not list(keeper.out.parent.rglob("*.part"))


# Rotation.


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("old", ["at hand", "lost"])
def test_a_key_is_rotated_and_every_client_follows(keeper, role, old, tmp_path):
    keeper.add("1.0.0")
    keeper.fetch()
    shutil.copytree(keeper.keys.folder, tmp_path / "former")
    if old == "lost":
        (keeper.keys.folder / f"{role}.pem").unlink()
    if old == "lost" and role == "root":
        with refused("there is no root key", keeper.path):
            catalogue.rotate(keeper.path, role, keeper.keys)
        return
    assert catalogue.rotate(keeper.path, role, keeper.keys) == keeper.keys.folder / f"{role}.pem"
    assert sorted(path.name for path in keeper.keys.folder.iterdir()) == sorted(f"{role}.pem" for role in ROLES)
    assert stat.S_IMODE((keeper.keys.folder / f"{role}.pem").stat().st_mode) == 0o600
    assert (keeper.keys.folder / f"{role}.pem").read_bytes() != (tmp_path / "former" / f"{role}.pem").read_bytes()
    assert not keeper.fetch().changed
    keeper.add("1.1.0")
    assert keeper.fetch().entry.version == "1.1.0"
    shutil.rmtree(keeper.out.parent)
    assert keeper.fetch().changed, "a new client starts from the root that the app ships"
    former, action = Keys(tmp_path / "former"), "rotate" if role == "root" else "add"
    with refused(f"former/{role}.pem is not the {role} key of this catalogue", keeper.path):
        if action == "rotate":
            catalogue.rotate(keeper.path, "timestamp", former)
        else:
            keeper.keys = former
            keeper.add("1.2.0")


def test_clients_recover_from_versions_that_a_leaked_key_drove_up(keeper):
    """The fast-forward attack: timestamp's key leaked, and signed a version that the keeper would never reach."""
    keeper.add("1.0.0")
    kept = keeper.metadata("timestamp.json").read_bytes()
    forged = Metadata.from_bytes(kept)
    forged.signed.version = 1_000_000
    forged.sign(keeper.keys.make("timestamp"))
    keeper.metadata("timestamp.json").write_bytes(forged.to_bytes())
    assert keeper.fetch().changed
    keeper.metadata("timestamp.json").write_bytes(kept)
    keeper.add("1.1.0")
    with refused("goes backwards"):
        keeper.fetch()
    catalogue.rotate(keeper.path, "timestamp", keeper.keys)
    assert keeper.fetch().entry.version == "1.1.0" and keeper.has("1.1.0")


@pytest.mark.parametrize(
    "role, writes, lost",
    [("root", 3, False)]
    + [(*case, lost) for case in (("targets", 6), ("snapshot", 5), ("timestamp", 4)) for lost in (0, 1)],
)
def test_an_interrupted_rotation_goes_on(keeper, role, writes, lost, monkeypatch, tmp_path):
    """After any of its writes; what is there in between is good for clients as long as the old key was at hand."""
    keeper.add("1.0.0")
    if lost:
        (keeper.keys.folder / f"{role}.pem").unlink()
    for last in range(1, writes + 1):
        copy = Keeper(tmp_path / str(last))
        shutil.copytree(keeper.path, copy.path)
        shutil.copytree(keeper.keys.folder, copy.keys.folder)
        copy.root, copy.published = keeper.root, keeper.published
        with failing_write(monkeypatch, last), pytest.raises(CnnAppError, match="No space left"):
            catalogue.rotate(copy.path, role, copy.keys)
        if not lost:
            assert copy.fetch().changed and copy.has("1.0.0")
        catalogue.rotate(copy.path, role, copy.keys)
        assert sorted(path.name for path in copy.keys.folder.iterdir()) == sorted(f"{role}.pem" for role in ROLES)
        copy.add("1.1.0")
        assert copy.fetch().entry.version == "1.1.0"
    with failing_write(monkeypatch, writes + 1):
        catalogue.rotate(keeper.path, role, keeper.keys)  # there are no more writes than these


# Full disks, dying processes, two at a time.


@contextmanager
def failing_write(monkeypatch, count):
    """The disk is full when the `count`-th file takes its place."""
    done, real = [], os.replace

    def replace_file(*paths):
        done.append(paths)
        if len(done) == count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*paths)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace_file)
        yield


GOLDEN = Exported(model_bytes(99), b"answers")
WRITES = ["model", "golden", "targets", "snapshot", "timestamp"]  # of an add


@pytest.mark.parametrize("count", range(1, 6), ids=WRITES)
def test_a_full_disk_at_any_write_leaves_the_old_state(keeper, count, monkeypatch):
    keeper.add("1.0.0")
    entry = Entry(name="photos", version="1.1.0")
    with failing_write(monkeypatch, count), refused("cannot write .*: No space left", keeper.path, error=CnnAppError):
        catalogue.add(keeper.path, GOLDEN, entry, keeper.keys)
    assert keeper.fetch().entry.version == "1.0.0"
    catalogue.add(keeper.path, GOLDEN, entry, keeper.keys)
    assert catalogue.listing(keeper.path).entries[-1].version == "1.1.0"


def test_a_full_disk_at_init_leaves_nothing_but_keys(tmp_path, monkeypatch):
    keeper = Keeper(tmp_path)
    with failing_write(monkeypatch, 9), pytest.raises(CnnAppError, match="No space left"):
        keeper.create()
    assert not keeper.path.exists() and len(list(keeper.keys.folder.iterdir())) == 4
    keeper.create().add("1.0.0")


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
from cnn_app.cli.main import cli
cli(sys.argv[1:])
"""


def limited(*arguments):
    """A command that may write no file beyond 60 kB, which the operating system tells like a full disk."""
    command = [sys.executable, "-c", LIMITED, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def test_a_disk_that_fills_while_adding_or_fetching(keeper, tmp_path):
    keeper.add("1.0.0")
    keeper.fetch()
    file, before = tmp_path / "photos-int8.tflite", tree(keeper.path)
    file.write_bytes(model_bytes(5, 100_000))
    add = ("deliver", "add", keeper.path, file, "--name", "photos", "--version", "1.1.0", "--keys", keeper.keys.folder)
    assert "Error: cannot write" in (told := limited(*add)) and "File too large; free some space" in told
    assert tree(keeper.path) == before
    keeper.add("1.1.0", data=file.read_bytes())
    told = limited("fetch", keeper.path, "photos", "--root", keeper.root, "--out", keeper.out)
    assert "Error: cannot write" in told and "File too large; free some space" in told and keeper.has("1.0.0")
    assert keeper.fetch().changed and keeper.has("1.1.0")


DYING = """
import os, signal, sys
from pathlib import Path
from cnn_app.delivery import catalogue
from cnn_app.delivery.entry import Entry
from cnn_app.delivery.exported import Exported
from cnn_app.delivery.keys import Keys
done, real = [], os.replace
def dying(*paths):
    done.append(paths)
    if len(done) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    real(*paths)
os.replace = dying
data = b"0000TFL3" + os.urandom(1000)
catalogue.add(Path(sys.argv[1]), Exported(data, data), Entry(name="photos", version="1.1.0"), Keys(Path(sys.argv[2])))
"""


@pytest.mark.parametrize("count", range(1, 6), ids=WRITES)
def test_a_keeper_that_is_killed_leaves_the_old_state(keeper, count):
    keeper.add("1.0.0")
    command = [sys.executable, "-c", DYING, keeper.path, keeper.keys.folder, str(count)]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    assert keeper.fetch().entry.version == "1.0.0" and keeper.has("1.0.0")
    added = keeper.add("1.1.0")
    assert keeper.fetch().entry == added and keeper.has("1.1.0")
    files = [path for path in (keeper.path / "targets").rglob("*") if path.is_file()]
    assert len(files) == 2 and not [path for path in keeper.path.rglob(".*")], "what was left is swept away"
    assert max(int(path.name.split(".")[0]) for path in keeper.metadata("").glob("*.targets.json")) == 3


def test_one_at_a_time(keeper):
    keeper.add("1.0.0")
    keeper.fetch()
    for folder, action in (
        (keeper.metadata(""), lambda: keeper.add("1.1.0")),
        (keeper.out.parent / ".photos.tflite-tuf", keeper.fetch),
    ):
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with refused("another process is at work in", keeper.path):
            action()
        os.close(descriptor)
        action()


# Downloads.


def test_a_download_that_was_cut_off_goes_on_where_it_stopped(keeper, server):
    address, settings = server
    keeper.add("1.0.0")
    keeper.fetch(address)
    keeper.add("1.1.0", data=model_bytes(3, 1_000_000))
    settings |= {"cut": 300_000}
    sizes = []
    for _ in range(2):
        with refused("cannot download from .* was cut off.*; try again later, it goes on where it stopped"):
            keeper.fetch(address)
        assert keeper.has("1.0.0")
        sizes += [path.stat().st_size for path in keeper.out.parent.rglob("*.part")]
    assert sizes == [300_000, 600_000]
    del settings["cut"]
    assert keeper.fetch(address).changed and keeper.has("1.1.0")
    asked = [span for path, span in settings["requests"] if path.endswith(".tflite")]
    assert asked == [None, None, "bytes=300000-", "bytes=600000-"]
    assert not list(keeper.out.parent.rglob("*.part")) and not list(keeper.out.parent.rglob("parts"))


@pytest.mark.parametrize("rest", ["wrong", "no ranges", "complete", "too long"])
def test_what_an_earlier_download_left_is_verified(keeper, server, rest):
    address, settings = server
    keeper.add("1.0.0", data=model_bytes(3, 1_000_000))
    settings["cut"] = 300_000
    with pytest.raises(DeliveryError):
        keeper.fetch(address)
    del settings["cut"]
    part = next(keeper.out.parent.rglob("*.part"))
    if rest == "wrong":
        flip(part)
        with refused("holds other bytes than were signed"):
            keeper.fetch(address)
        assert not part.exists() and not keeper.out.exists()
    elif rest == "complete":
        part.write_bytes(model_bytes(3, 1_000_000))
    elif rest == "too long":
        part.write_bytes(model_bytes(3, 1_000_000) + b"x")
        with refused("holds other bytes than were signed"):
            keeper.fetch(address)
    settings |= {"ranges": rest != "no ranges", "requests": []}
    assert keeper.fetch(address).changed and keeper.has("1.0.0")
    asked = [span for path, span in settings["requests"] if path.endswith(".tflite")]
    assert asked == {"wrong": [None], "too long": [None], "no ranges": ["bytes=300000-"], "complete": []}[rest]


def test_a_source_that_is_none(keeper, server, tmp_path):
    address, settings = server
    keeper.add("1.0.0")
    for source, text in {
        "ftp://127.0.0.1/models": "is no address of a catalogue",
        "file:///etc": "is no address of a catalogue",
        f"{address}?token=1": "is no address of a catalogue",
        "http://[": "is no address of a catalogue",
        "http://a..b": "cannot download from .*label",
        str(tmp_path): "there is no catalogue at",
        "http://127.0.0.1:9": "cannot download from .*Connection refused",
        f"{address}/elsewhere": "cannot download from .* 404",
    }.items():
        with refused(text):
            keeper.fetch(source)
    assert not keeper.out.exists()
    settings["missing"] = 500
    with refused("cannot download from .* 500"):
        keeper.fetch(address)
    settings["missing"] = 403  # what a bucket says of a file that is not there
    assert keeper.fetch(address + "/").changed
    with refused("does not end in .tflite", tmp_path):
        client.fetch(address, ALL, root=keeper.root, out=tmp_path / "photos")


def test_the_runtime_is_that_of_tflite_runtime_or_unknown(monkeypatch):
    monkeypatch.setattr(client, "version", lambda name: {"tflite-runtime": "2.14.0"}[name])
    assert client.installed_runtime() == "2.14.0"

    def missing(name):
        raise packages.PackageNotFoundError(name)

    monkeypatch.setattr(client, "version", missing)
    assert client.installed_runtime() == ""


# Golden answers, with a real file.


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A tiny int8 file as `export` writes it, in a model directory."""
    import cnn_app
    from cnn_app.export import graph, tflite
    from cnn_app.export.targets import place, target
    from cnn_app.runtimes.keras_model import KerasRuntime

    directory = ModelDir(tmp_path_factory.mktemp("store") / "digits")
    model, kind = cnn_app.create_model("lenet5"), target("tflite-int8")
    pixels = np.random.default_rng(0).integers(0, 256, (8, *model.input_shape[1:])).astype(np.uint8)
    file = place(directory, "tflite-int8")
    file.parent.mkdir(parents=True)
    tflite.write(graph.deployable(model), file, kind, pixels)
    golden.write(file, kind, pixels, KerasRuntime(model).predict(pixels))
    directory.write_card(Card(architecture="lenet5", columns={}, labels=tuple("0123456789"), image=(32, 32, 1)))
    directory.add_exports([{"path": "mobile/digits-int8.tflite", "sha256": sha256(file), "target": "tflite-int8",
                            "min_runtime": tflite.min_runtime(file)}])  # fmt: skip
    return file


def test_golden_answers_travel_and_are_repeated(keeper, server, real):
    model, digits = exported.read(real), Wanted(name="digits")
    assert (model.name, model.kind) == ("digits", "tflite-int8") and Version(model.min_runtime) < Version("2.14")
    entry = Entry(name=model.name, version="1.0.0", kind=model.kind, min_runtime=model.min_runtime)
    catalogue.add(keeper.path, model, entry, keeper.keys)
    fetched = keeper.fetch(server[0], digits)
    assert fetched.changed and fetched.checked == 8 and golden.check(keeper.out).passed
    golden.place(keeper.out).unlink()
    assert keeper.fetch(server[0], digits).changed and golden.check(keeper.out).passed
    with np.load(golden.place(real)) as stored:
        arrays = dict(stored)
    wrong = real.parent / "wrong.npz"
    np.savez(wrong, **arrays | {"scores": arrays["scores"] + 0.5})
    wrong_answers = replace(model, answers=wrong.read_bytes())
    catalogue.add(keeper.path, wrong_answers, replace(entry, version="1.1.0"), keeper.keys)
    before = keeper.out.read_bytes(), golden.place(keeper.out).read_bytes()
    with refused("digits 1.1.0 does not answer on this machine as where it was exported: scores differ by"):
        keeper.fetch(server[0], digits)
    assert (keeper.out.read_bytes(), golden.place(keeper.out).read_bytes()) == before
    catalogue.add(keeper.path, replace(model, answers=None), replace(entry, version="1.2.0"), keeper.keys)
    assert keeper.fetch(server[0], digits).entry.version == "1.2.0"
    assert catalogue.remove(keeper.path, "digits", "1.1.0", "stable", "any", keeper.keys).version == "1.1.0"
    assert len(list(keeper.path.rglob("*.npz"))) == 1


def test_golden_answers_that_belong_to_another_file_are_not_published(real, tmp_path):
    (tmp_path / "x.tflite").write_bytes(model_bytes(1))
    golden.place(tmp_path / "x.tflite").write_bytes(golden.place(real).read_bytes())
    with refused("was changed since it was exported", tmp_path):
        exported.read(tmp_path / "x.tflite")


# The commands.


def call(*arguments, code=0):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def test_the_commands_from_init_to_fetch(tmp_path, real):
    models, keys, out = tmp_path / "models", tmp_path / "keys", tmp_path / "digits.tflite"
    sign, root = ("--keys", keys, "--json"), models / "metadata" / "1.root.json"
    assert json.loads(call("deliver", "init", models, *sign)) == {"root": str(root)}
    added = json.loads(call("deliver", "add", models, real, "--version", "1.0.0", *sign))[0]
    assert (added["name"], added["kind"], added["bytes"]) == ("digits", "tflite-int8", real.stat().st_size)
    call("deliver", "add", models, real, "--version", "2.0.0", "--min-app", "2", "--channel", "beta", "--keys", keys)
    call("deliver", "add", models, real, "--version", "1.1.0", "--keys", keys)
    fetch = ("fetch", models, "digits", "--root", root, "--out", out)
    fetched = json.loads(call(*fetch, "--json"))
    assert (fetched["version"], fetched["changed"], fetched["checked"]) == ("1.1.0", True, 8)
    assert fetched["sha256"] == sha256(out) and call(*fetch).endswith(f"{added['bytes']:,} bytes, unchanged\n")
    assert json.loads(call(*fetch, "--channel", "beta", "--app", "2.1", "--json"))["version"] == "2.0.0"
    assert json.loads(call("deliver", "rollback", models, "digits", *sign))[0]["version"] == "1.1.0"
    assert (
        call("deliver", "rollback", models, "digits", "--to", "1.0.0", "--keys", keys)
        == "nothing is above digits 1.0.0\n"
    )
    assert "removed digits 1.1.0" in call("deliver", "remove", models, "digits", "--version", "1.1.0", "--keys", keys)
    listed = json.loads(call("deliver", "list", models, "--json"))
    assert [model["version"] for model in listed["models"]] == ["2.0.0", "1.0.0"] and set(listed["expires"]) == set(
        ROLES
    )
    assert re.search(r"digits │ +1.0.0 │ stable .* offered", call("deliver", "list", models))
    assert json.loads(call("deliver", "rotate", models, "timestamp", *sign)) == {"key": str(keys / "timestamp.pem")}
    assert json.loads(call("deliver", "renew", models, *sign)).keys() == set(ROLES)
    assert "signed until: root 20" in call("deliver", "renew", models, "--keys", keys)
    assert "digits 1.0.0" in call(*fetch)
    for text, arguments in {
        "no model named 'digit'; known: digits": ("fetch", models, "digit", "--root", root, "--out", out),
        "2.0.0 needs app 2, yours is 1.4": (*fetch, "--channel", "beta", "--app", "1.4", "--runtime", "0.1"),
        "no entry named 'digits/stable/any/7'": (
            "deliver",
            "remove",
            models,
            "digits",
            "--version",
            "7",
            "--keys",
            keys,
        ),
        "there is no targets key": ("deliver", "add", models, real, "--version", "3"),
        "there is no catalogue at": ("deliver", "list", tmp_path),
    }.items():
        line = call(*arguments, code=1)
        assert text in line and len(line.splitlines()) == 1
    file = tmp_path / "nameless.tflite"
    file.write_bytes(real.read_bytes())
    assert "give --name" in call("deliver", "add", models, file, "--version", "3", "--keys", keys, code=1)


def test_the_commands_offer_what_there_is():
    from cnn_app.cli.deliver import options, sign

    assert tuple(options.CHANNELS.choices) == tuple(SEEN) and tuple(sign.ROLES.choices) == ROLES


def test_serve_is_a_web_server_on_loopback(keeper, tmp_path):
    entry = keeper.add("1.0.0")
    (keeper.path / "private").write_text("beside the catalogue")
    command = [sys.executable, "-c", "from cnn_app.cli.main import cli; cli()"]
    process = subprocess.Popen([*command, "deliver", "serve", keeper.path, "--port", "0"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    with process:
        address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())[0]
        assert keeper.fetch(address).changed and keeper.has("1.0.0")
        name = keeper.file(entry).relative_to(keeper.path).as_posix()
        request = urllib.request.Request(f"{address}/{name}", headers={"Range": "bytes=5000-"})
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 206 and answer.read() == keeper.out.read_bytes()[5000:]
        with pytest.raises(urllib.error.HTTPError, match="404") as caught:
            urllib.request.urlopen(f"{address}/private")
        caught.value.close()
        port = address.rpartition(":")[2]
        told = call("deliver", "serve", keeper.path, "--port", port, code=1)
        assert f"cannot serve on port {port}: Address already in use" in told
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0 and process.stderr.read() == ""


def test_without_python_tuf_one_line_says_what_to_install(tmp_path):
    code = "import sys; sys.modules['tuf'] = None; from cnn_app.cli.main import cli; cli(sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", code, "deliver", "list", tmp_path], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "Error: signed delivery needs python-tuf; pip install 'cnn-app[deliver]'\n"


@pytest.mark.parametrize("name", ["init", "add", "list", "remove", "rollback", "renew", "rotate", "serve"])
def test_help_of_the_subcommands_is_light(name):
    code = (
        f"import sys; from cnn_app.cli.main import cli; cli(['deliver', {name!r}, '--help'], standalone_mode=False); "
    )
    code += "print(sorted({'keras', 'tensorflow', 'numpy', 'rich', 'tuf'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.endswith("[]\n") and "Usage:" in printed
