"""What a publisher publishes, what clients get, and who may sign."""

import json
import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from publishing import ALL, flip, model_bytes, refused, tree
from tuf.api.metadata import Metadata, Targets
from tuf.ngclient import Updater

from cnn_app.artifacts import Card, ModelDir, sha256
from cnn_app.atomic import write_json
from cnn_app.delivery import catalogue, exported, repository
from cnn_app.delivery.entry import Entry, Wanted, choose, of_target
from cnn_app.delivery.exported import Exported
from cnn_app.delivery.keys import ROLES, Keys
from cnn_app.delivery.repository import EXPIRY_DAYS, utc_now
from cnn_app.errors import DeliveryError

# What a publisher does, and what clients get.


def test_what_is_published_is_what_is_fetched(publisher):
    first = publisher.add("1.0.0", kind="tflite-int8", min_runtime="1.14.0")
    assert first.bytes == 5_008 and first.kind == "tflite-int8" and first.track == "photos/stable/any"
    fetched = publisher.fetch()
    assert (
        fetched.changed and fetched.entry == first and publisher.has("1.0.0") and sha256(publisher.out) == first.sha256
    )
    assert not publisher.fetch().changed
    second = publisher.add("1.1.0")
    assert publisher.fetch().changed and publisher.has("1.1.0")
    assert publisher.rollback() == [replace(second, withdrawn=True)]
    assert publisher.fetch().entry.version == "1.0.0" and publisher.has("1.0.0")
    assert [(entry.version, entry.withdrawn) for entry in catalogue.listing(publisher.path).entries] == [
        ("1.0.0", False), ("1.1.0", True)
    ]  # fmt: skip
    assert publisher.file(second).read_bytes() == publisher.published["photos/stable/any", "1.1.0"]
    assert catalogue.remove(publisher.path, "photos", "1.1", "stable", "any", publisher.keys).sha256 == second.sha256
    assert not list(publisher.path.rglob(f"{second.sha256}*")) and not publisher.fetch().changed
    assert sorted(path.name for path in publisher.out.parent.iterdir()) == [".photos.tflite-tuf", "photos.tflite"]


def test_the_files_are_those_of_the_tuf_specification(publisher):
    """Consistent snapshots: versions and digests in front of the names; every role has a key and a term of its own."""
    entry = publisher.add("1.0.0")
    names = {path.name for path in publisher.metadata("").iterdir()}
    assert names == {
        "1.root.json",
        "timestamp.json",
        *(f"{n}.{r}.json" for n in (1, 2) for r in ("targets", "snapshot")),
    }
    assert publisher.file(entry).relative_to(publisher.path).as_posix() == (
        f"targets/photos/stable/any/1.0.0/{entry.sha256}.photos.tflite"
    )
    root = json.loads(publisher.metadata("1.root.json").read_text())["signed"]
    assert root["consistent_snapshot"] and len(root["keys"]) == 4
    targets = Metadata[Targets].from_file(str(publisher.metadata("2.targets.json"))).signed.targets
    assert of_target(targets[entry.path]) == entry and targets[entry.path].custom["version"] == "1.0.0"
    for role, when in catalogue.listing(publisher.path).expires.items():
        assert timedelta(0) <= utc_now() + timedelta(days=EXPIRY_DAYS[role]) - when < timedelta(minutes=10)


def test_another_tuf_client_reads_it(publisher, server, tmp_path):
    entry = publisher.add("1.0.0")
    plain = Updater(str(tmp_path), f"{server[0]}/metadata", str(tmp_path), f"{server[0]}/targets",
                    bootstrap=publisher.root.read_bytes())  # fmt: skip
    found = plain.get_targetinfo(entry.path)
    assert found.custom["name"] == "photos" and sha256(Path(plain.download_target(found))) == entry.sha256


@pytest.mark.parametrize("version", ["1.0.0", "1.0", "0.9", "1.0.0rc1", "1.1.0", "1.2"])
def test_a_version_never_goes_backwards(publisher, version):
    """Nor may one come again that was withdrawn or removed."""
    for published in ("1.0.0", "1.1.0", "1.2.0"):
        publisher.add(published)
    publisher.rollback("1.1.0")
    catalogue.remove(publisher.path, "photos", "1.2.0", "stable", "any", publisher.keys)
    with refused(rf"{version} is not above 1.2.0, the highest version of photos/stable/any", publisher.path):
        publisher.add(version)
    for track in ({"channel": "beta"}, {"device": "npu"}, {"name": "faces"}):
        publisher.add(version, **track)
    publisher.add("1.10.0")
    assert publisher.fetch().entry.version == "1.10.0"


def test_rollback_goes_to_a_version_that_is_offered(publisher):
    with refused("no model in channel stable named 'photos'", publisher.path):
        publisher.rollback()
    for version in ("1.0", "1.1", "1.2", "1.3"):
        publisher.add(version)
    publisher.add("2.0", name="faces")
    assert [entry.version for entry in publisher.rollback()] == ["1.3"]
    with refused("no version to go back to named '1.3'; known: 1.0, 1.1, 1.2", publisher.path):
        publisher.rollback("1.3")
    before = tree(publisher.path)
    assert publisher.rollback("1.2") == [] and tree(publisher.path) == before
    assert [entry.version for entry in publisher.rollback("1.0")] == ["1.1", "1.2"]
    with refused("1.0 is the only version of photos .* deliver remove takes it out", publisher.path):
        publisher.rollback()
    assert publisher.fetch(wanted=Wanted(name="faces")).entry.version == "2.0"


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
def test_what_would_be_no_path_or_version_is_refused(publisher, values):
    with refused("is no|no channel named|epoch or a local part", publisher.path):
        publisher.add(**{"version": "1.0"} | values)


def test_targets_that_are_described_in_another_way_are_told(publisher):
    publisher.add("1.0.0")
    target = next(iter(repository.load(publisher.path).targets.signed.targets.values()))
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
    directory.write_card(
        Card(architecture="a", columns={}, labels=("x", "y"), input={"kind": "image", "image": [8, 8, 1]})
    )
    line = {
        "path": "mobile/photos-int8.tflite",
        "sha256": sha256(file),
        "target": "tflite-int8",
        "min_runtime": "2.3.0",
    }
    write_json(directory.exports, [line])
    assert exported.read(file) == Exported(model_bytes(0), None, "photos", "tflite-int8", "2.3.0")
    directory.model.write_bytes(b"another model")
    write_json(directory.exports, [line | {"model": sha256(file)}])
    with refused("photos-int8.tflite is stale: .*model.keras was replaced since; export it again", tmp_path):
        exported.read(file)
    write_json(directory.exports, [line | {"model": sha256(directory.model)}])
    assert exported.read(file).kind == "tflite-int8"
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


def test_keys_are_for_their_owner_only(publisher):
    assert stat.S_IMODE(publisher.keys.folder.stat().st_mode) == 0o700
    for role in ROLES:
        path = publisher.keys.folder / f"{role}.pem"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and b"BEGIN PRIVATE KEY" in path.read_bytes()
    assert len(list(publisher.keys.folder.iterdir())) == 4


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_a_key_that_others_can_read_is_refused(publisher, role, mode):
    publisher.add("1.0.0")
    (publisher.keys.folder / f"{role}.pem").chmod(mode)
    with refused(rf"{role}.pem has mode {mode:o}, .* chmod 600 ", publisher.path):
        publisher.add("1.1.0")
    assert publisher.fetch().entry.version == "1.0.0"


def test_keys_come_from_the_environment(publisher):
    environment = {f"CNN_APP_KEY_{role.upper()}": (publisher.keys.folder / f"{role}.pem").read_text() for role in ROLES}
    publisher.keys = Keys(None, {name: pem for name, pem in environment.items() if "ROOT" not in name})
    publisher.add("1.0.0")
    assert publisher.fetch().changed
    assert "PRIVATE" not in repr(publisher.keys)
    publisher.keys = Keys(None, {})
    with refused("there is no targets key; .* --keys DIR, or in CNN_APP_KEY_TARGETS", publisher.path):
        publisher.add("1.1.0")
    publisher.keys = Keys(None, environment | {"CNN_APP_KEY_TARGETS": environment["CNN_APP_KEY_ROOT"]})
    with refused("CNN_APP_KEY_TARGETS is not the targets key of this catalogue", publisher.path):
        publisher.add("1.1.0")
    with refused("a new key needs a place; give --keys DIR", publisher.path):
        catalogue.rotate(publisher.path, "timestamp", Keys(None, environment))


def test_what_is_no_key_is_refused(publisher):
    path = publisher.keys.folder / "targets.pem"
    locked = publisher.keys.make("targets")._private_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    for content in (b"", b"nonsense", locked, path.read_bytes()[:60]):
        path.write_bytes(content)
        with refused("targets.pem holds no Ed25519 key", publisher.path):
            publisher.add("1.0.0")


def test_keys_are_not_published_with_the_catalogue(tmp_path):
    with refused("keep the keys elsewhere", tmp_path):
        catalogue.create(tmp_path / "models", Keys(tmp_path / "models" / "keys"))


def test_a_catalogue_is_made_in_an_empty_place_with_the_keys_that_are_there(publisher, tmp_path):
    with refused("is not empty; choose another place", tmp_path):
        catalogue.create(publisher.path, publisher.keys)
    keys = tree(publisher.keys.folder)
    catalogue.create(tmp_path / "other", publisher.keys)
    assert tree(publisher.keys.folder) == keys
    with refused("there is no catalogue at .*; deliver init makes one", tmp_path):
        catalogue.listing(tmp_path / "app")
