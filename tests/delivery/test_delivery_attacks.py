"""A catalogue and its client against forged, old, mixed and broken states."""

import shutil
from datetime import timedelta

import pytest
from publishing import Publisher, flip, model_bytes, refused

from cnn_app.delivery import catalogue, repository
from cnn_app.delivery.keys import ROLES, Keys
from cnn_app.delivery.repository import EXPIRY_DAYS, utc_now

# Attacks and broken catalogues.


@pytest.mark.parametrize("name", ["1.root.json", "2.targets.json", "2.snapshot.json", "timestamp.json"])
@pytest.mark.parametrize("sensitivity", ["flip", "cut", "empty", "deep", "gone", "other type"])
def test_a_broken_signature_is_refused_by_keeper_and_client(publisher, name, sensitivity):
    publisher.add("1.0.0")
    publisher.fetch()
    file = publisher.metadata(name)
    data = file.read_bytes()
    expires = data.index(b'"expires":"20')  # one digit of a year makes a signature that is good for nothing
    changes = {"flip": data[: expires + 13] + b"9" + data[expires + 14 :], "cut": data[:-30], "empty": b"",
               "deep": b"[" * 100_000, "other type": publisher.metadata("1.targets.json").read_bytes()}  # fmt: skip
    file.write_bytes(changes[sensitivity]) if sensitivity in changes else file.unlink()
    for change in (
        lambda: publisher.add("1.1.0"),
        publisher.rollback,
        lambda: catalogue.renew(publisher.path, publisher.keys),
        lambda: catalogue.rotate(publisher.path, "timestamp", publisher.keys),
        lambda: catalogue.listing(publisher.path),
    ):
        with refused("signature of|cannot be read|other bytes|holds targets|cannot read", publisher.path):
            change()
    shutil.rmtree(publisher.out.parent / ".photos.tflite-tuf")  # a client that has seen nothing yet
    if name != "1.root.json":  # that one the client has
        with refused("signature of|cannot be read|other bytes|sends more|not consistent|is not there"):
            publisher.fetch()
    assert publisher.has("1.0.0")


@pytest.mark.parametrize(
    "role, days, known",
    [("timestamp", 31, True), ("timestamp", 31, False), ("targets", 366, False), ("root", 731, True)],
)
def test_an_expired_catalogue_is_refused_until_it_is_renewed(tmp_path, role, days, known):
    """A freeze attack: a server that goes on showing what was once signed, also to a client that knows it already."""
    then = utc_now() - timedelta(days=days)
    expired = then + timedelta(days=EXPIRY_DAYS[role])
    publisher = Publisher(tmp_path).create(then)
    publisher.add("1.0.0", then)
    if role != "timestamp":  # what is signed for a shorter term was kept up
        kept = ROLES[ROLES.index(role) + 1 :]
        catalogue.renew(publisher.path, Keys(None, environment(publisher, *kept)), expired - timedelta(days=1))
    if known:
        publisher.out.parent.mkdir()
        publisher.out.write_bytes(b"old")
    for attempt in range(2):
        with refused(rf"{role} of .* expired on {expired:%Y-%m-%d}: its publisher runs deliver renew"):
            publisher.fetch()
        assert publisher.out.read_bytes() == b"old" if known else not publisher.out.exists(), attempt
    with refused(rf"of .* expired on {expired:%Y-%m-%d}; deliver list shows .*, deliver renew", publisher.path):
        publisher.add("1.1.0")
    assert catalogue.listing(publisher.path).expires[role] < utc_now()
    assert all(when > utc_now() for when in catalogue.renew(publisher.path, publisher.keys).values())
    assert publisher.fetch().entry.version == "1.0.0"
    publisher.add("1.1.0")
    assert publisher.fetch().entry.version == "1.1.0"


def test_a_signature_is_good_until_the_second_it_expires(publisher):
    state = repository.load(publisher.path)
    first = min(state.expires().values())
    repository.refuse_expired(state, publisher.path, first - timedelta(seconds=1))
    with refused(f"expired on {first:%Y-%m-%d}", publisher.path):
        repository.refuse_expired(state, publisher.path, first)


def environment(publisher, *roles):
    return {f"CNN_APP_KEY_{role.upper()}": (publisher.keys.folder / f"{role}.pem").read_text() for role in roles}


def test_renewing_leaves_root_and_targets_alone_until_half_their_term(publisher):
    listed = catalogue.listing(publisher.path).expires
    online = Keys(None, environment(publisher, "snapshot", "timestamp"))
    for days in (20, 183, 364):
        expires = catalogue.renew(publisher.path, online, utc_now() + timedelta(days=days))
        assert {role for role in ROLES if expires[role] > listed[role]} == {"snapshot", "timestamp"}
    with refused("there is no targets key", publisher.path):
        catalogue.renew(publisher.path, online, utc_now() + timedelta(days=370))
    expires = catalogue.renew(publisher.path, publisher.keys, utc_now() + timedelta(days=20))
    assert (expires["root"], expires["targets"]) == (listed["root"], listed["targets"])
    expires = catalogue.renew(publisher.path, publisher.keys, utc_now() + timedelta(days=183))
    assert expires["root"] == listed["root"] and expires["targets"] > listed["targets"]
    expires = catalogue.renew(publisher.path, publisher.keys, utc_now() + timedelta(days=366))
    assert expires["root"] > listed["root"] and publisher.metadata("2.root.json").exists()


@pytest.mark.parametrize("whole", [True, False])
def test_a_client_does_not_go_back_to_an_older_state(publisher, whole, tmp_path):
    """The rollback attack: everything, or the timestamp alone, as it was before."""
    publisher.add("1.0.0")
    publisher.fetch()
    shutil.copytree(publisher.path, tmp_path / "before")
    publisher.add("1.1.0")
    publisher.fetch()
    if not whole:
        shutil.copytree(publisher.path, tmp_path / "before", dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("timestamp.json"))  # fmt: skip
    for _ in range(2):
        with refused("goes backwards: New timestamp version 2 must be >= 3; an older state is shown"):
            publisher.fetch(tmp_path / "before")
        assert publisher.has("1.1.0")
    assert not publisher.fetch().changed


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_parts_of_different_states_are_not_mixed(publisher, role):
    publisher.add("1.0.0")
    publisher.fetch()
    publisher.add("1.1.0")
    shutil.copy(publisher.metadata(f"2.{role}.json"), publisher.metadata(f"3.{role}.json"))
    with refused("holds other bytes than were signed"):
        publisher.fetch()
    assert publisher.has("1.0.0")
    with refused("holds other bytes than were signed", publisher.path):
        publisher.add("1.2.0")


def test_a_flipped_byte_in_a_model_is_refused(publisher, server):
    address, settings = server
    publisher.add("1.0.0")
    publisher.fetch()
    file = publisher.file(publisher.add("1.1.0"))
    flip(file)
    for source in (address, publisher.path):
        with refused("holds other bytes than were signed: .*hash.*; its publisher uploads it again"):
            publisher.fetch(source)
        assert publisher.has("1.0.0") and not list(publisher.out.parent.rglob("*.part"))
    flip(file)
    assert publisher.fetch(address).changed and publisher.has("1.1.0")


def test_another_catalogue_is_not_trusted(publisher, tmp_path):
    other = Publisher(tmp_path / "other").create()
    other.add("9.0.0")
    publisher.add("1.0.0")
    publisher.fetch()
    with refused("the signature of .* is broken: timestamp was signed by 0/1 keys; .* root is this catalogue's"):
        publisher.fetch(other.path)
    shutil.copytree(publisher.metadata(""), other.metadata(""), dirs_exist_ok=True,
                    ignore=lambda *_: {"timestamp.json", "2.snapshot.json", "2.targets.json"})  # fmt: skip
    with refused("the signature of .* is broken"):
        publisher.fetch(other.path)
    assert publisher.has("1.0.0")
    for name, text in (("nowhere.json", "cannot read .*metadata/1.root.json"), ("large.json", "too large for root")):
        (tmp_path / "large.json").write_bytes(b" " * 600_000)
        with refused(text, tmp_path):
            publisher.fetch(root=tmp_path / name)
    (tmp_path / "bad.json").write_text("{}")
    with refused("metadata that cannot be read"):
        publisher.fetch(root=tmp_path / "bad.json")


def test_a_root_in_the_place_of_its_follower_is_refused(publisher):
    publisher.add("1.0.0")
    shutil.copy(publisher.metadata("1.root.json"), publisher.metadata("2.root.json"))
    with refused("has a root of version 1 in another one's place", publisher.path):
        publisher.add("1.1.0")
    with refused("goes backwards: Expected root version 2", publisher.path):
        publisher.fetch()


def test_endless_answers_are_cut_short(publisher, server):
    """Metadata ends at TUF's limits, a model at its signed length."""
    address, settings = server
    publisher.add("1.0.0")
    publisher.fetch()
    publisher.add("1.1.0", data=model_bytes(7, 600_000))
    for suffix, extra in ((".json", b" " * 20_000), (".tflite", b"x")):
        settings["more"] = {suffix: extra}
        with refused("sends more than was signed: .*; its publisher uploads it again"):
            publisher.fetch(address)
        assert publisher.has("1.0.0") and not list(publisher.out.parent.rglob("*.part"))
