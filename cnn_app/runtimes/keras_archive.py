"""What a `.keras` file declares, before Keras believes it: a zip of a configuration as JSON and of weights as HDF5.

A few bytes of either may stand for any amount of memory, so what they unpack to is bounded twice: in all, and by the
file's own size.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import h5py

from cnn_app.errors import ArtifactError, first_line

CONFIG, METADATA = "config.json", "metadata.json"
MAX_BYTES = 16 * 2**30  # unpacked
MAX_JSON_BYTES = 64 * 2**20  # each
MAX_MEMBERS = 10_000
MAX_DEPTH = 200  # of lists and objects in JSON
MAX_RATIO, FREE_BYTES = 100, 256 * 2**20  # unpacked to packed, of what is larger than that
SPARE = 2**20  # numbers beyond those in the file, such as the states of random generators
INSTEAD = "where you know who made it, predict and evaluate read it with --trust, load_model with trust=True"


def check(path: Path) -> int:
    """How many numbers the weights may be. Raises ArtifactError for what crosses a limit or is damaged."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS:
                raise ArtifactError(f"{path} has {len(members):,} members, more than {MAX_MEMBERS:,}; {INSTEAD}")
            for member in members:
                _check_size(path, member.filename, member.file_size, size)
            _check_size(path, "in all", sum(member.file_size for member in members), size)
            for name in {CONFIG, METADATA} & set(archive.namelist()):
                _check_json(path, name, archive)
            return sum(_numbers(path, member, archive, size) for member in members) + SPARE
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{path} is damaged: {first_line(error)}; copy it again or train anew") from error


def _check_size(path: Path, what: str, unpacked: int, packed: int) -> None:
    if unpacked > min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * packed)):
        raise ArtifactError(
            f"{path} has {packed / 2**20:,.1f} MiB and declares {unpacked / 2**20:,.0f} MiB {what}, more than "
            f"{MAX_BYTES >> 30} GiB, or than {FREE_BYTES >> 20} MiB and {MAX_RATIO} times the file; {INSTEAD}"
        )


def _check_json(path: Path, name: str, archive: zipfile.ZipFile) -> None:
    if archive.getinfo(name).file_size > MAX_JSON_BYTES:
        raise ArtifactError(f"{path}: {name} is larger than {MAX_JSON_BYTES >> 20} MiB; {INSTEAD}")
    try:
        depth, level = 0, [json.loads(archive.read(name))]
    except RecursionError:
        depth, level = MAX_DEPTH, [[]]
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ArtifactError(f"{path}: {name} is nested deeper than {MAX_DEPTH}; {INSTEAD}")
        level = [item for value in level if isinstance(value, list | dict)
                 for item in (value.values() if isinstance(value, dict) else value)]  # fmt: skip


def _numbers(path: Path, member: zipfile.ZipInfo, archive: zipfile.ZipFile, size: int) -> int:
    """In a member with weights, by the shapes that it declares."""
    if member.filename.endswith(".npz"):
        raise ValueError("its weights are no HDF5")
    if not member.filename.endswith(".h5"):
        return 0
    found: list[h5py.Dataset] = []
    with h5py.File(io.BytesIO(archive.read(member)), "r") as stored:
        stored.visititems(lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
        _check_size(path, f"of weights in {member.filename}", sum(item.nbytes for item in found), size)
        return sum(item.size for item in found)
