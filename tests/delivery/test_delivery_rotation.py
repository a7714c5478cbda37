"""New keys, and what they have to survive."""

import shutil
import stat

import pytest
from keeping import Keeper, failing_write, refused
from tuf.api.metadata import Metadata

from cnn_app.delivery import catalogue
from cnn_app.delivery.keys import ROLES, Keys
from cnn_app.errors import CnnAppError

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
