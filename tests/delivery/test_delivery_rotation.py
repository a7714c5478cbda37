"""New keys, and what they have to survive."""

import shutil
import stat

import pytest
from publishing import Publisher, failing_write, refused
from tuf.api.metadata import Metadata

from cnn_app.delivery import catalogue
from cnn_app.delivery.keys import ROLES, Keys
from cnn_app.errors import CnnAppError

# Rotation.


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("old", ["at hand", "lost"])
def test_a_key_is_rotated_and_every_client_follows(publisher, role, old, tmp_path):
    publisher.add("1.0.0")
    publisher.fetch()
    shutil.copytree(publisher.keys.folder, tmp_path / "former")
    if old == "lost":
        (publisher.keys.folder / f"{role}.pem").unlink()
    if old == "lost" and role == "root":
        with refused("there is no root key", publisher.path):
            catalogue.rotate(publisher.path, role, publisher.keys)
        return
    assert catalogue.rotate(publisher.path, role, publisher.keys) == publisher.keys.folder / f"{role}.pem"
    assert sorted(path.name for path in publisher.keys.folder.iterdir()) == sorted(f"{role}.pem" for role in ROLES)
    assert stat.S_IMODE((publisher.keys.folder / f"{role}.pem").stat().st_mode) == 0o600
    assert (publisher.keys.folder / f"{role}.pem").read_bytes() != (tmp_path / "former" / f"{role}.pem").read_bytes()
    assert not publisher.fetch().changed
    publisher.add("1.1.0")
    assert publisher.fetch().entry.version == "1.1.0"
    shutil.rmtree(publisher.out.parent)
    assert publisher.fetch().changed, "a new client starts from the root that the app ships"
    former, action = Keys(tmp_path / "former"), "rotate" if role == "root" else "add"
    with refused(f"former/{role}.pem is not the {role} key of this catalogue", publisher.path):
        if action == "rotate":
            catalogue.rotate(publisher.path, "timestamp", former)
        else:
            publisher.keys = former
            publisher.add("1.2.0")


def test_clients_recover_from_versions_that_a_leaked_key_drove_up(publisher):
    """The fast-forward attack: timestamp's key leaked, and signed a version that the publisher would never reach."""
    publisher.add("1.0.0")
    kept = publisher.metadata("timestamp.json").read_bytes()
    forged = Metadata.from_bytes(kept)
    forged.signed.version = 1_000_000
    forged.sign(publisher.keys.make("timestamp"))
    publisher.metadata("timestamp.json").write_bytes(forged.to_bytes())
    assert publisher.fetch().changed
    publisher.metadata("timestamp.json").write_bytes(kept)
    publisher.add("1.1.0")
    with refused("goes backwards"):
        publisher.fetch()
    catalogue.rotate(publisher.path, "timestamp", publisher.keys)
    assert publisher.fetch().entry.version == "1.1.0" and publisher.has("1.1.0")


@pytest.mark.parametrize(
    "role, writes, lost",
    [("root", 3, False)]
    + [(*case, lost) for case in (("targets", 6), ("snapshot", 5), ("timestamp", 4)) for lost in (0, 1)],
)
def test_an_interrupted_rotation_goes_on(publisher, role, writes, lost, monkeypatch, tmp_path):
    """After any of its writes; what is there in between is good for clients as long as the old key was at hand."""
    publisher.add("1.0.0")
    if lost:
        (publisher.keys.folder / f"{role}.pem").unlink()
    for last in range(1, writes + 1):
        copy = Publisher(tmp_path / str(last))
        shutil.copytree(publisher.path, copy.path)
        shutil.copytree(publisher.keys.folder, copy.keys.folder)
        copy.root, copy.published = publisher.root, publisher.published
        with failing_write(monkeypatch, last), pytest.raises(CnnAppError, match="No space left"):
            catalogue.rotate(copy.path, role, copy.keys)
        if not lost:
            assert copy.fetch().changed and copy.has("1.0.0")
        catalogue.rotate(copy.path, role, copy.keys)
        assert sorted(path.name for path in copy.keys.folder.iterdir()) == sorted(f"{role}.pem" for role in ROLES)
        copy.add("1.1.0")
        assert copy.fetch().entry.version == "1.1.0"
    with failing_write(monkeypatch, writes + 1):
        catalogue.rotate(publisher.path, role, publisher.keys)  # there are no more writes than these
