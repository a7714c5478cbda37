"""Signing keys: one Ed25519 key for each role, as PEM in a file that only its owner can read, or in the environment."""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner

from cnn_app import systems
from cnn_app.atomic import replacing
from cnn_app.errors import DeliveryError

ROLES = ("root", "targets", "snapshot", "timestamp")
NEXT = ".next.pem"  # a key that a rotation has made and not yet published
MAX_BYTES = 10_000


@dataclass(frozen=True)
class Keys:
    """Where a publisher's keys are: `ROLE.pem` in `folder`, and CNN_APP_KEY_ROLE in `environment`."""

    folder: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # keys belong in no traceback

    def find(self, role: str, accepted: Container[str]) -> CryptoSigner | None:
        """The key of `role` at hand whose id is in `accepted`."""
        for _, signer in self._at_hand(role):
            if signer.public_key.keyid in accepted:
                return signer
        return None

    def signer(self, role: str, accepted: Container[str]) -> CryptoSigner:
        """As `find`, and an error that says what is missing."""
        if signer := self.find(role, accepted):
            return signer
        if places := [place for place, _ in self._at_hand(role)]:
            raise DeliveryError(f"{places[0]} is not the {role} key of this catalogue; give the one it was made with")
        folder = self.folder or "DIR"
        raise DeliveryError(f"there is no {role} key; put it in {folder}/{role}.pem with --keys {folder}, "
                            f"or in {variable(role)}")  # fmt: skip

    def make(self, role: str) -> CryptoSigner:
        """The key of `role` at hand; a new one where there is none."""
        for _, signer in self._at_hand(role):
            return signer
        return self._create(f"{role}.pem")

    def prepare(self, role: str) -> CryptoSigner:
        """The key that is to follow; an interrupted rotation goes on with the one it made."""
        if self.folder and (path := self.folder / (role + NEXT)).exists():
            return _from_file(path)
        return self._create(role + NEXT)

    def settle(self, role: str) -> Path:
        """Once the catalogue names the prepared key, it takes the old one's place."""
        assert self.folder is not None, "prepare has written there"
        path = self.folder / f"{role}.pem"
        os.replace(self.folder / (role + NEXT), path)
        return path

    def _at_hand(self, role: str) -> Iterator[tuple[str, CryptoSigner]]:
        if pem := self.environment.get(variable(role)):
            yield variable(role), _load(pem.encode(), variable(role))
        for path in [self.folder / f"{role}.pem", self.folder / (role + NEXT)] if self.folder else []:
            if path.exists():
                yield str(path), _from_file(path)

    def _create(self, name: str) -> CryptoSigner:
        if self.folder is None:
            raise DeliveryError("a new key needs a place; give --keys DIR")
        signer = CryptoSigner.generate_ed25519()
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise DeliveryError(f"cannot make {self.folder}: {error.strerror}; choose another place") from error
        with replacing(self.folder / name) as scratch:
            with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(signer.private_bytes)
        return signer


def variable(role: str) -> str:
    return f"CNN_APP_KEY_{role.upper()}"


def _from_file(path: Path) -> CryptoSigner:
    """Refused where others could have read it: a signature would no longer say who signed."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            pem = file.read(MAX_BYTES)
    except OSError as error:
        raise DeliveryError(f"cannot read the key {path}: {error.strerror}") from error
    if systems.open_to_others(mode):
        raise DeliveryError(f"{path} has mode {mode:o}, so others than its owner may have read it; chmod 600 {path}, "
                            "and rotate the key if anyone could")  # fmt: skip
    return _load(pem, str(path))


def _load(pem: bytes, place: str) -> CryptoSigner:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise DeliveryError(f"{place} holds no Ed25519 key as unencrypted PEM (PKCS8); deliver init writes such keys")
    return CryptoSigner(key)
