import dataclasses
import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from cnn_app import artifacts
from cnn_app.artifacts import Card, ModelDir, model_dir_of, replacing
from cnn_app.errors import ArtifactError

CARD = Card(
    architecture="lenet5",
    columns={"filters": (6, 16), "stages": ((1, 2), (3, 4)), "width": 0.5, "name": "x"},
    labels=("cat", "dög"),
    image=(28, 32, 1),
    data={"source": "digits", "counts": {"train": 3}},
    metrics={"test": {"top1": 0.25}},
)
MINIMAL = {"architecture": "a", "columns": {}, "labels": ["x", "y"], "image": [8, 8, 1]}


def names(folder):
    """Everything in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def write(scratch, kind, text):
    """A file with `text`, or a directory with such a file in it."""
    if kind == "directory":
        scratch.mkdir()
        scratch /= "inside"
    scratch.write_text(text)


def text_of(path, kind):
    return (path / "inside" if kind == "directory" else path).read_text()


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_replacing_publishes_at_the_end_only(tmp_path, kind):
    target = tmp_path / "made" / "deeper" / "target"
    for text in ("first", "second"):
        with replacing(target) as scratch:
            write(scratch, kind, text)
            assert text == "first" and not target.exists() or text_of(target, kind) == "first"
        assert text_of(target, kind) == text
        assert names(target.parent) == ["target"]


@pytest.mark.parametrize("kind", ["file", "directory"])
@pytest.mark.parametrize(
    "raised, seen", [(ValueError, ValueError), (KeyboardInterrupt, KeyboardInterrupt), (full, ArtifactError)]
)
def test_what_goes_wrong_in_the_block_leaves_the_old_content(tmp_path, kind, raised, seen):
    target = tmp_path / "target"
    write(target, kind, "old")
    with pytest.raises(seen), replacing(target) as scratch:
        write(scratch, kind, "half")
        raise raised()
    assert text_of(target, kind) == "old"
    assert names(tmp_path) == ["target"]


@pytest.mark.parametrize("kind", ["file", "directory"])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_is_full_at_the_end_leaves_the_old_content(tmp_path, monkeypatch, kind, call):
    target = tmp_path / "target"
    write(target, kind, "old")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(ArtifactError, match="No space left on device; free some space"), replacing(target) as scratch:
        write(scratch, kind, "new")
    assert text_of(target, kind) == "old"
    assert names(tmp_path) == ["target"]


def test_nothing_was_there_and_nothing_stays(tmp_path):
    with pytest.raises(ArtifactError), replacing(tmp_path / "target") as scratch:
        scratch.write_text("half")
        full()
    assert names(tmp_path) == []


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(ArtifactError, match="No such file"), replacing(tmp_path / "target"):
        pass
    assert names(tmp_path) == []


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError) as caught:
        artifacts.write_text(tmp_path / "file" / "model.txt", "text")
    message = str(caught.value)
    assert str(tmp_path / "file" / "model.txt") in message and "another place" in message and "\n" not in message


def test_new_files_have_ordinary_permissions(tmp_path):
    (tmp_path / "plain").write_text("")
    artifacts.write_text(tmp_path / "written", "")
    assert (tmp_path / "written").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_card_round_trip(tmp_path):
    directory = ModelDir(tmp_path / "model")
    directory.write_card(CARD)
    read = directory.read_card()
    assert read == CARD
    assert (
        read.columns["stages"] == ((1, 2), (3, 4)) and isinstance(read.labels, tuple) and isinstance(read.image, tuple)
    )
    assert "dög" in directory.card.read_text(encoding="utf-8")


def test_a_card_needs_only_four_keys(tmp_path):
    artifacts.write_json(tmp_path / "card.json", MINIMAL)
    assert ModelDir(tmp_path).read_card() == Card(architecture="a", columns={}, labels=("x", "y"), image=(8, 8, 1))


@pytest.mark.parametrize("text", ["", "{", '{"labels": [', "\x00\x01", "[" * 100_000], ids=lambda text: repr(text[:12]))
def test_a_damaged_card(tmp_path, text):
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(ArtifactError, match="card.json is damaged"):
        ModelDir(tmp_path).read_card()


def test_a_card_that_is_not_text(tmp_path):
    (tmp_path / "card.json").write_bytes(b"\x80\xff\xfe\x00")
    with pytest.raises(ArtifactError, match="card.json is damaged"):
        ModelDir(tmp_path).read_card()


@pytest.mark.parametrize(
    "values",
    [
        [],
        "card",
        None,
        {},
        MINIMAL | {"licence": "MIT"},
        {name: value for name, value in MINIMAL.items() if name != "labels"},
        MINIMAL | {"columns": []},
        MINIMAL | {"labels": "cat"},
        MINIMAL | {"labels": None},
        MINIMAL | {"image": [28, 28]},
        MINIMAL | {"image": ["a", "b", "c"]},
        MINIMAL | {"image": 28},
        MINIMAL | {"data": ["digits"]},
        MINIMAL | {"architecture": 5},
    ],
    ids=str,
)
def test_json_that_is_no_card(tmp_path, values):
    (tmp_path / "card.json").write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match="is no card of a model") as caught:
        ModelDir(tmp_path).read_card()
    assert "\n" not in str(caught.value)


def test_no_card_at_all(tmp_path):
    with pytest.raises(ArtifactError, match="no card.json; train writes one"):
        ModelDir(tmp_path).read_card()


def test_a_file_too_large_to_be_ours_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(artifacts, "JSON_LIMIT_BYTES", 10)
    artifacts.write_json(tmp_path / "card.json", MINIMAL)
    with pytest.raises(ArtifactError, match="none of our files"):
        ModelDir(tmp_path).read_card()


def test_exports_replace_the_line_of_the_same_path(tmp_path):
    directory = ModelDir(tmp_path)
    assert directory.read_exports() == []
    directory.add_exports([{"path": "a", "n": 1}, {"path": "b", "n": 2}])
    directory.add_exports([{"path": "a", "n": 3}])
    assert directory.read_exports() == [{"path": "b", "n": 2}, {"path": "a", "n": 3}]


@pytest.mark.parametrize("text", ["{}", '["a"]', '[{"n": 1}]', "null", "[{"])
def test_damaged_exports(tmp_path, text):
    (tmp_path / "exports.json").write_text(text)
    with pytest.raises(ArtifactError, match="exports.json"):
        ModelDir(tmp_path).add_exports([{"path": "a"}])
    assert (tmp_path / "exports.json").read_text() == text


def test_a_failed_write_keeps_the_card(tmp_path, monkeypatch):
    directory = ModelDir(tmp_path)
    directory.write_card(CARD)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ArtifactError, match="No space left"):
        directory.write_card(dataclasses.replace(CARD, architecture="other"))
    assert directory.read_card() == CARD and names(tmp_path) == ["card.json"]


def test_model_dir_of_finds_the_card_above(tmp_path):
    file = tmp_path / "model" / "mobile" / "model.tflite"
    artifacts.write_text(file, "")
    assert model_dir_of(file) is None
    ModelDir(tmp_path / "model").write_card(CARD)
    assert model_dir_of(file).path == model_dir_of(tmp_path / "model").path == (tmp_path / "model").resolve()
    assert model_dir_of(tmp_path) is None


def test_digest_and_size(tmp_path):
    artifacts.write_bytes(tmp_path / "d" / "a", b"abc")
    artifacts.write_bytes(tmp_path / "d" / "e" / "b", b"12345")
    of_file = hashlib.sha256(b"abc").hexdigest()
    assert artifacts.sha256(tmp_path / "d" / "a") == of_file
    lines = f"{of_file}  a\n{hashlib.sha256(b'12345').hexdigest()}  e/b\n"
    assert artifacts.sha256(tmp_path / "d") == hashlib.sha256(lines.encode()).hexdigest()
    assert artifacts.size_bytes(tmp_path / "d" / "a") == 3 and artifacts.size_bytes(tmp_path / "d") == 8
