import dataclasses
import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from cnn_app import artifacts, atomic
from cnn_app.artifacts import Card, ModelDir, model_dir_of, sha256
from cnn_app.atomic import replacing
from cnn_app.errors import ArtifactError

CARD = Card(
    architecture="lenet5",
    columns={"filters": (6, 16), "stages": ((1, 2), (3, 4)), "width": 0.5, "name": "x"},
    labels=("cat", "dög"),
    input={"kind": "image", "image": [28, 32, 1]},
    data={"source": "digits", "counts": {"train": 3}},
    metrics={"test": {"top1": 0.25}},
)
INPUT = {"kind": "image", "image": [8, 8, 1]}
MINIMAL = {"architecture": "a", "columns": {}, "labels": ["x", "y"], "input": INPUT}
OLD = {"architecture": "a", "columns": {}, "labels": ["x", "y"], "image": [8, 8, 1]}  # as 0.1.0 wrote it


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
        atomic.write_text(tmp_path / "file" / "model.txt", "text")
    message = str(caught.value)
    assert str(tmp_path / "file" / "model.txt") in message and "another place" in message and "\n" not in message


def test_new_files_have_ordinary_permissions(tmp_path):
    (tmp_path / "plain").write_text("")
    atomic.write_text(tmp_path / "written", "")
    assert (tmp_path / "written").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_card_round_trip(tmp_path):
    directory = ModelDir(tmp_path / "model")
    directory.write_card(CARD)
    read = directory.read_card()
    assert read == CARD
    assert read.columns["stages"] == ((1, 2), (3, 4)) and isinstance(read.labels, tuple)
    assert "dög" in directory.card.read_text(encoding="utf-8")
    assert artifacts.read_json(directory.card)["format"] == artifacts.FORMAT


@pytest.mark.parametrize("values", [MINIMAL, OLD, OLD | {"resize": "stretch", "task": "classification"}], ids=len)
def test_a_card_needs_only_four_keys(tmp_path, values):
    """One of today, and one of 0.1.0, which had neither `input` nor `format`."""
    atomic.write_json(tmp_path / "card.json", values)
    assert ModelDir(tmp_path).read_card() == Card(architecture="a", columns={}, labels=("x", "y"), input=INPUT)


def test_an_old_card_is_written_as_one_of_today(tmp_path):
    atomic.write_json(tmp_path / "card.json", OLD | {"metrics": {"test": {"top1": 0.5}}})
    directory = ModelDir(tmp_path)
    directory.write_card(directory.read_card())
    values = artifacts.read_json(directory.card)
    assert values["input"] == INPUT and values["format"] == 2 and "image" not in values
    assert values["metrics"] == {"test": {"top1": 0.5}}


def test_what_a_later_version_wrote_on_a_card_is_kept(tmp_path):
    later = {"licence": "MIT", "notes": {"by": ["a"]}}
    atomic.write_json(tmp_path / "card.json", MINIMAL | later)
    directory = ModelDir(tmp_path)
    card = directory.read_card()
    assert card.other == later
    directory.write_card(dataclasses.replace(card, metrics={"epoch": 3}))
    values = artifacts.read_json(directory.card)
    assert values.items() >= (MINIMAL | later | {"metrics": {"epoch": 3}}).items()
    assert directory.read_card().other == later


@pytest.mark.parametrize("values", [MINIMAL, {"format": 3, "networks": []}], ids=["like-ours", "unlike-ours"])
def test_a_card_of_a_later_format_is_refused(tmp_path, values):
    atomic.write_json(tmp_path / "card.json", values | {"format": artifacts.FORMAT + 1})
    with pytest.raises(ArtifactError, match="card.json has format 3, this version knows 2; update cnn-app") as caught:
        ModelDir(tmp_path).read_card()
    assert "\n" not in str(caught.value)


def test_a_model_and_a_card_of_two_runs_are_refused(tmp_path):
    """As a run leaves them that is killed between the two writes."""
    directory = ModelDir(tmp_path)
    directory.check_state()  # nothing is there yet
    atomic.write_bytes(directory.model, b"first")
    directory.write_card(dataclasses.replace(CARD, digests={"model.keras": artifacts.sha256(directory.model)}))
    directory.check_state()
    atomic.write_bytes(directory.model, b"second")
    with pytest.raises(ArtifactError, match="are of two runs, .* --resume, or train again with --overwrite") as caught:
        directory.check_state()
    assert "\n" not in str(caught.value)
    directory.write_card(CARD)  # 0.1.0 may have written no digest
    directory.check_state()


def test_retired_exports_are_gone_with_all_that_belongs_to_them(tmp_path):
    """What lies outside of the directory, or is not on the list, stays."""
    directory = ModelDir(tmp_path / "model")
    gone = ["mobile/m-int8.tflite", "mobile/m-int8.golden.npz", "mobile/m-int8.layers.csv", "serving/1/saved_model.pb"]
    kept = ["mobile/own.tflite", "serving/2/saved_model.pb", "../outside.onnx"]
    for name in gone + kept:
        atomic.write_text(directory.path / name, "")
    directory.retire_exports()
    assert all((directory.path / name).is_file() for name in gone + kept)
    atomic.write_json(
        directory.exports,
        [{"path": name} for name in ("mobile/m-int8.tflite", "serving/1", "lost.onnx", kept[-1])],
    )
    directory.retire_exports()
    assert [name for name in gone + kept if (directory.path / name).exists()] == kept
    assert not directory.exports.exists() and not (directory.path / "serving" / "1").exists()


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
        {name: value for name, value in MINIMAL.items() if name != "labels"},
        MINIMAL | {"columns": []},
        MINIMAL | {"labels": "cat"},
        MINIMAL | {"labels": None},
        *({**MINIMAL, "input": wrong} for wrong in (None, [8, 8, 1], {"kind": "image"}, {**INPUT, "image": 28})),
        *(OLD | {"image": wrong} for wrong in (None, [28, 28], ["a", "b", "c"], 28)),
        {name: value for name, value in MINIMAL.items() if name != "input"},
        MINIMAL | {"format": "2"},
        MINIMAL | {"options": []},
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
    atomic.write_json(tmp_path / "card.json", MINIMAL)
    with pytest.raises(ArtifactError, match="none of our files"):
        ModelDir(tmp_path).read_card()


def test_exports_are_told_of_as_they_lie_there(tmp_path):
    """A line is written before its file takes the place: until then it counts for nothing."""
    directory = ModelDir(tmp_path)
    assert directory.read_exports() == []

    def write(name, text):
        atomic.write_text(tmp_path / name, text)
        return {"path": name, "sha256": sha256(tmp_path / name)}

    old, other = write("a", "old"), write("serving/1/saved_model.pb", "b") | {"path": "serving/1"}
    other["sha256"] = sha256(tmp_path / "serving" / "1")
    for line in (old, other):
        directory.announce_export(line)
    new = {"path": "a", "sha256": hashlib.sha256(b"new").hexdigest()}
    for line in ({"path": "never", "sha256": ""}, new):
        directory.announce_export(line)
        assert directory.read_exports() == [old, other]  # where the writer is killed now
    write("a", "new")
    assert directory.read_exports() == [new, other]
    directory.settle_exports()
    assert json.loads(directory.exports.read_text()) == [new, other]


@pytest.mark.parametrize("text", ["{}", '["a"]', '[{"n": 1}]', "null", "[{"])
def test_damaged_exports(tmp_path, text):
    (tmp_path / "exports.json").write_text(text)
    with pytest.raises(ArtifactError, match="exports.json"):
        ModelDir(tmp_path).announce_export({"path": "a"})
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
    atomic.write_text(file, "")
    assert model_dir_of(file) is None
    ModelDir(tmp_path / "model").write_card(CARD)
    assert model_dir_of(file).path == model_dir_of(tmp_path / "model").path == (tmp_path / "model").resolve()
    assert model_dir_of(tmp_path) is None


def test_digest_and_size(tmp_path):
    atomic.write_bytes(tmp_path / "d" / "a", b"abc")
    atomic.write_bytes(tmp_path / "d" / "e" / "b", b"12345")
    of_file = hashlib.sha256(b"abc").hexdigest()
    assert artifacts.sha256(tmp_path / "d" / "a") == of_file
    lines = f"{of_file}  a\n{hashlib.sha256(b'12345').hexdigest()}  e/b\n"
    assert artifacts.sha256(tmp_path / "d") == hashlib.sha256(lines.encode()).hexdigest()
    assert artifacts.size_bytes(tmp_path / "d" / "a") == 3 and artifacts.size_bytes(tmp_path / "d") == 8
