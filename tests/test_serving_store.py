"""The store of versions under readers that poll and writers that die."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading

import pytest
from click.testing import CliRunner
from writers import working_in

from cnn_app.cli.main import cli
from cnn_app.errors import ArtifactError, ServingError
from cnn_app.serving import store

PARTS = 40  # files of a version, each with the version's mark


def model(path, mark="a"):
    """What a store takes for a SavedModel; all its files hold `mark`."""
    (path / "variables").mkdir(parents=True)
    for i in range(PARTS):
        (path / "variables" / f"{i}").write_text(mark)
    (path / "saved_model.pb").write_text(mark)
    return path


def mark(base, version):
    return (base / str(version) / "saved_model.pb").read_text()


@pytest.fixture
def base(tmp_path):
    """Versions 1, 2 and 3, of the models a, b and c."""
    for letter in "abc":
        store.publish(model(tmp_path / letter, letter), tmp_path / "base")
    return tmp_path / "base"


def invoke(*words):
    return CliRunner().invoke(cli, ["serving", *map(str, words)])


def test_numbers_go_up_and_mean_what_they_meant(base, tmp_path):
    assert store.versions(base) == [1, 2, 3] and [mark(base, n) for n in (1, 2, 3)] == ["a", "b", "c"]
    assert store.rollback(base) == (2, 4) and mark(base, 4) == "b"
    assert store.rollback(base) == (3, 5) and mark(base, 5) == "c"  # the first one is taken back
    assert store.rollback(base, to=1) == (1, 6) and mark(base, 6) == "a"
    assert store.prune(base, keep=1) == [1, 2, 3, 4, 5] and store.versions(base) == [6]
    assert store.publish(tmp_path / "b", base) == 7
    assert sorted(entry.name for entry in base.iterdir()) == ["6", "7"]


def test_only_folders_named_by_a_number_are_versions(base, tmp_path):
    for name in ("04", "-5", "+6", "7 ", "²", "8.0", ".9", "latest", "9" * 19):
        (base / name).mkdir()
    (base / "10").write_text("a file")
    assert store.versions(base) == [1, 2, 3] and store.versions(tmp_path / "nowhere") == []


def test_labels_keep_their_versions_from_being_pruned(base):
    assert store.labels(base) == {}
    assert store.label(base, {"stable": 1, "canary": 3}) == {"canary": 3, "stable": 1}
    assert json.loads((base / "labels.json").read_text()) == store.labels(base) == {"canary": 3, "stable": 1}
    assert store.prune(base, keep=1) == [2]
    assert store.label(base, {"stable": 3, "canary": None}) == {"stable": 3}
    assert store.prune(base, keep=1) == [1] and store.versions(base) == [3]


def test_a_reader_that_polls_never_sees_half_a_model(base, tmp_path):
    """While versions come and go, each that is there is whole when it is first seen, as TF Serving loads it."""
    done, wrong, seen = threading.Event(), [], set()

    def poll():
        while not done.is_set():
            for version in store.versions(base)[-1:]:  # the highest is never pruned
                if version not in seen:
                    seen.add(version)
                    files = list((base / str(version)).rglob("*"))
                    texts = {file.read_text() for file in files if file.is_file()}
                    if len(files) != PARTS + 2 or len(texts) != 1:
                        wrong.append((version, len(files), texts))

    reader = threading.Thread(target=poll)
    reader.start()
    try:
        for letter in "abcabcabc":
            store.publish(tmp_path / letter, base)
            store.prune(base, keep=2)
    finally:
        done.set()
        reader.join()
    assert not wrong and len(seen) > 2 and store.versions(base) == [11, 12]


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from cnn_app.serving import store
real, left = shutil.copy2, [int(sys.argv[3])]
def copy(*arguments, **options):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **options)
shutil.copytree.__defaults__ = tuple(copy if value is real else value for value in shutil.copytree.__defaults__)
store.publish(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("files", [1, PARTS // 2, PARTS + 1])
def test_a_killed_writer_leaves_no_version_and_nothing_in_the_way(base, tmp_path, files):
    command = [sys.executable, "-c", KILLED, str(tmp_path / "a"), str(base), str(files)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    assert store.versions(base) == [1, 2, 3] and len(list(base.glob(".cnn-app-????????"))) == 1
    assert store.publish(tmp_path / "b", base) == 4 and mark(base, 4) == "b"
    assert not list(base.glob(".*"))


def test_one_writer_at_a_time(base):
    with working_in(base) as process:
        with pytest.raises(
            ServingError, match=rf"another process \({process.pid}: .*\) is at work in .*base; try again"
        ):
            store.prune(base, keep=1)
    assert store.versions(base) == [1, 2, 3]
    assert store.prune(base, keep=1) == [1, 2] and not list(base.glob(".*"))


def test_a_full_disk_is_told_and_leaves_nothing(base, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ServingError, match=r"cannot write .*: No space left on device; free some space"):
        store.publish(tmp_path / "a", base)
    monkeypatch.undo()
    (tmp_path / "b" / "gone").symlink_to("nothing")
    with pytest.raises(ServingError, match=r"cannot write .*No such file or directory"):
        store.publish(tmp_path / "b", base)
    assert sorted(entry.name for entry in base.iterdir()) == ["1", "2", "3"]


def test_what_cannot_be_done_is_one_line(base, tmp_path):
    store.label(base, {"stable": 3})
    for words, said in (
        (("publish", tmp_path, base), "is no SavedModel; give a folder like"),
        (("publish", tmp_path / "a", tmp_path / "a" / "in"), "lies inside of"),
        (("rollback", tmp_path / "nowhere"), "has no versions; serving publish puts one there"),
        (("rollback", base, "--to", 9), "has no version 9; it has 1, 2, 3"),
        (("rollback", base, "--to", 3), "version 3 of .* is the highest"),
        (("label", base, "canary=9"), "has no version 9; it has 1, 2, 3"),
        (("label", base, "a/b=1"), "'a/b' is no label"),
        (("config", tmp_path / "a", "--out", tmp_path / "out"), "a has no versions; serving publish or export"),
        (("config", base, base, "--out", tmp_path / "out"), "are both named base; rename the folder of one"),
    ):
        result = invoke(*words)
        assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1, words
        assert re.search(said, result.stderr), result.stderr
    assert invoke("label", base, "stable=x").exit_code == 2 and invoke("label", base, "stable").exit_code == 2
    shutil.rmtree(base / "3")
    assert "names version 3, which is not there" in invoke("config", base, "--out", tmp_path / "out").stderr
    assert not (tmp_path / "out").exists()
    for text, error in (("{", ArtifactError), ('{"stable": "3"}', ServingError), ("[3]", ServingError)):
        (base / "labels.json").write_text(text)
        with pytest.raises(error, match="damaged|none of our files"):
            store.labels(base)
