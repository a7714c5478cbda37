"""Two at a time: one of them is told whose turn it is, and nothing of the other is lost."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner
from writers import working_in

import cnn_app
from cnn_app import atomic
from cnn_app.artifacts import ModelDir
from cnn_app.atomic import one_writer, scratch, sweep
from cnn_app.cli.main import cli
from cnn_app.errors import ArtifactError, CnnAppError, ModelError, ServingError
from cnn_app.lock import NAME, locked
from cnn_app.recipe import Schedule
from cnn_app.serving import store

TINY = {"maps": (2, 4, 8), "units": 8}
TRAIN = (
    "train",
    "lenet5",
    "-c",
    "maps=[2, 4, 8]",
    "-c",
    "units=8",
    "--data",
    "digits",
    "--batch",
    "256",
    "--epochs",
    "1",
)
EXPORT = ("--to", "saved_model", "--max-drop", "100")
SCRATCH = """
import sys
from pathlib import Path
from cnn_app.atomic import scratch
with scratch(Path(sys.argv[1])) as place:
    (place / "half").write_text("half")
    print("held", flush=True)
    sys.stdin.read()
"""
BETWEEN = """
import os, signal, sys
from pathlib import Path
from cnn_app.atomic import replacing
real = os.replace
os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
with replacing(Path(sys.argv[1])) as place:
    place.mkdir()
    (place / "inside").write_text("new")
"""


PUBLISHED = """
import sys
from pathlib import Path
from cnn_app.errors import ServingError
from cnn_app.serving import store
try:
    print(store.publish(*map(Path, sys.argv[1:])))
except ServingError as error:
    print(error)
"""


def hidden(folder):
    return [path for path in folder.rglob(".*")]


def refused(*words, at=""):
    """What a command says in its one line, which names a process."""
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1, result.output
    found = re.search(r"another process \((\d+): .+\) is at work in (.+); try again when it has ended", result.stderr)
    assert found and found[2].endswith(at), result.stderr
    return int(found[1])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A model directory."""
    folder = tmp_path_factory.mktemp("finished") / "m"
    cnn_app.train("lenet5", "digits", folder, columns=TINY, schedule=Schedule(epochs=1, batch=256, augment=()))
    return folder


@pytest.fixture
def m(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(finished, tmp_path / "m").name)


def exported(base):
    """What stands for a SavedModel."""
    base.mkdir(parents=True)
    (base / "saved_model.pb").write_text(base.name)
    return base


# --- the lock


def test_a_holder_is_named_and_a_dead_one_is_in_nobody_s_way(tmp_path):
    folder = tmp_path / "new" / "folder"
    with working_in(folder) as process:
        with pytest.raises(ServingError) as caught, locked(folder, ServingError):
            pass
        told = f"another process ({process.pid}: -c {folder}) is at work in {folder}; try again when it has ended"
        assert str(caught.value) == told[: len(told)]
        process.kill()
        process.wait()
        assert (folder / NAME).is_file()
        with locked(folder, ServingError):
            assert (folder / NAME).is_file()
        assert hidden(tmp_path) == []


def test_a_thread_may_take_what_it_holds_and_another_may_not(tmp_path):
    told = []

    def other():
        with pytest.raises(CnnAppError) as caught, locked(tmp_path, CnnAppError):
            pass
        told.append(str(caught.value))

    with locked(tmp_path, CnnAppError):
        with locked(tmp_path / ".." / tmp_path.name, CnnAppError):
            pass
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert (tmp_path / NAME).is_file()
    assert f"({os.getpid()}: " in told[0] and hidden(tmp_path) == []


def test_what_the_lock_made_goes_with_it_and_what_was_written_stays(tmp_path):
    with pytest.raises(ModelError), one_writer(tmp_path / "a" / "b", ArtifactError):
        raise ModelError
    assert list(tmp_path.iterdir()) == []
    with one_writer(tmp_path / "a" / "b", ArtifactError):
        (tmp_path / "a" / "b" / "file").write_text("")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["file"]


def test_a_folder_that_cannot_be_held_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot write .*file; choose another place|cannot write .*: ") as caught:
        with one_writer(tmp_path / "file", ArtifactError):
            pass
    assert "\n" not in str(caught.value)


# --- scratch


def test_scratch_of_the_dead_goes_with_the_next_write_and_that_of_the_living_stays(tmp_path):
    with working_in(tmp_path, SCRATCH) as living, working_in(tmp_path, SCRATCH) as dead:
        dead.kill()
        dead.wait()
        assert len(list(tmp_path.glob(f"{atomic.SCRATCH}*"))) == 2
        atomic.write_text(tmp_path / "answers.csv", "a")
        (left,) = tmp_path.glob(f"{atomic.SCRATCH}*")
        assert (left / "half").read_text() == "half"
        living.stdin.close()
        living.wait()
    assert hidden(tmp_path) == []


def test_a_folder_that_was_made_and_not_yet_held_is_swept_as_well(tmp_path):
    (tmp_path / f"{atomic.SCRATCH}abcdefgh").mkdir()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_that_loses_its_scratch_before_it_holds_it_takes_another(tmp_path, monkeypatch):
    real, made = atomic.tempfile.mkdtemp, []

    def swept(**options):
        made.append(real(**options))
        if len(made) == 1:
            held.enter_context(locked(Path(made[0]), CnnAppError, again=False))
        return made[-1]

    monkeypatch.setattr(atomic.tempfile, "mkdtemp", swept)
    with atomic.ExitStack() as held, scratch(tmp_path) as place:
        assert place == Path(made[1])


def test_hidden_folders_of_others_are_left_alone(tmp_path):
    for name in (".cache-abcdefgh", ".cnn-app-notes", "cnn-app-abcdefgh"):
        (tmp_path / name).mkdir()
    atomic.write_text(tmp_path / "a", "")
    assert len(list(tmp_path.iterdir())) == 4


def test_a_directory_that_had_made_place_for_another_comes_back(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "inside").write_text("old")
    done = subprocess.run([sys.executable, "-c", BETWEEN, str(tmp_path / "d")])
    assert done.returncode == -signal.SIGKILL and not (tmp_path / "d").exists()
    atomic.write_text(tmp_path / "other", "")
    assert (tmp_path / "d" / "inside").read_text() == "old" and hidden(tmp_path) == []


def test_a_folder_that_is_held_is_rid_of_scratch_one_folder_deep(tmp_path):
    for folder in (tmp_path, tmp_path / "mobile"):
        (folder / f"{atomic.SCRATCH}12345678").mkdir(parents=True)
    with one_writer(tmp_path, ArtifactError):
        pass
    assert hidden(tmp_path) == []


# --- commands


@pytest.mark.slow
def test_every_writer_of_a_model_directory_waits_for_its_turn(m):
    (m / "serving").mkdir()
    with working_in(m) as process:
        for words in (
            (*TRAIN, "--out", m, "--overwrite"),
            ("finetune", m, *TRAIN[6:], "--out", m, "--overwrite"),
            ("export", m, *EXPORT),
            ("average", m, m, "--out", m),
        ):
            assert refused(*words, at="m") == process.pid
        shutil.copytree(m, "quickstart", ignore=shutil.ignore_patterns(NAME))
    with working_in(Path("quickstart")) as process:
        assert refused("quickstart", "--store", ".", "--overwrite", at="quickstart") == process.pid
    with working_in(m / "serving") as process:  # a version of it is being published
        assert refused("export", m, *EXPORT, at="serving") == process.pid
        assert refused(*TRAIN, "--out", m, "--overwrite", at="serving") == process.pid


@pytest.mark.slow
def test_readers_and_dry_runs_do_not_wait(m):
    before = sorted(m.iterdir())
    with working_in(m):
        for words in (
            ("evaluate", m, "--data", "digits"),
            ("inspect", m),
            (*TRAIN, "--out", m, "--overwrite", "--dry-run"),
        ):
            result = CliRunner().invoke(cli, [str(word) for word in words])
            assert result.exit_code == 0, result.output
    assert sorted(m.iterdir()) == [m / NAME, *before][1:] if not (m / NAME).exists() else before


def test_a_model_that_came_while_one_waited_is_not_replaced(m, monkeypatch):
    """Two find the place free, one after the other holds it."""
    card, seen = m / "card.json", []
    card.rename("card")

    def writing(self):
        seen.append(Path("card").rename(card))
        return one_writer(self.path, ArtifactError)

    monkeypatch.setattr(ModelDir, "writing", writing)
    with pytest.raises(CnnAppError, match="holds a model already"):
        cnn_app.train("lenet5", "digits", m, columns=TINY)
    assert seen


@pytest.mark.parametrize("first", [pytest.param("export", marks=pytest.mark.slow), "publish"])
def test_an_export_and_a_publication_get_a_number_each(m, first):
    """Whichever comes second while the first is at work is refused, and then takes the next number."""
    source, held = exported(Path("source")), m / "serving"
    words = {"export": ("export", m, *EXPORT), "publish": ("serving", "publish", source, held)}
    second = "publish" if first == "export" else "export"
    with working_in(held) as process:
        assert refused(*words[second], at="serving") == process.pid
    for name in (first, second):
        assert CliRunner().invoke(cli, [str(word) for word in words[name]]).exit_code == 0
    assert store.versions(held) == [1, 2] and hidden(m) == []
    published = held / ("2" if first == "export" else "1")
    assert (published / "saved_model.pb").read_text() == "source"


def test_a_source_that_is_replaced_while_it_is_copied_is_told(tmp_path, monkeypatch):
    source, real = exported(tmp_path / "source"), shutil.copytree

    def slow(*paths):
        source.rename(tmp_path / "old")
        exported(source)
        return real(*paths)

    monkeypatch.setattr(shutil, "copytree", slow)
    with pytest.raises(ServingError, match="source was replaced while it was copied; publish it again"):
        store.publish(source, tmp_path / "base")
    assert list((tmp_path / "base").iterdir()) == []


def test_two_publications_are_two_versions(tmp_path):
    """Of ten processes that publish at once each says either its own number or that another was at work."""
    source = exported(tmp_path / "source")
    command = [sys.executable, "-c", PUBLISHED, source, tmp_path / "base"]
    running = [subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) for _ in range(10)]
    told = [process.communicate()[0].strip() for process in running]
    numbers = sorted(int(text) for text in told if text.isdecimal())
    assert numbers == store.versions(tmp_path / "base") == list(range(1, len(numbers) + 1)) and numbers
    assert all("is at work in" in text for text in told if not text.isdecimal()) and hidden(tmp_path) == []


@pytest.mark.slow
def test_of_two_trainings_one_is_refused(tmp_path):
    command = [sys.executable, "-m", "cnn_app", *TRAIN, "--out", str(tmp_path / "m"), "--json"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate() for process in running]
    codes = [process.returncode for process in running]
    assert sorted(codes) == [0, 1], told
    won, lost = codes.index(0), codes.index(1)
    wanted = (
        f"Error: another process ({running[won].pid}: cnn_app train lenet5) is at work in {tmp_path / 'm'}; try again"
    )
    assert told[lost][1].splitlines()[-1].startswith(wanted)
    card = ModelDir(tmp_path / "m").read_card()
    assert json.loads(told[won][0]) == card.metrics and hidden(tmp_path) == []


def test_an_average_that_cannot_be_measured_leaves_nothing(m, monkeypatch):
    from cnn_app.jobs import average

    def fail(*arguments, **options):
        raise ModelError("no")

    monkeypatch.setattr(average, "evaluate", fail)
    with pytest.raises(ModelError):
        average.average([m, m], "mean")
    assert not Path("mean").exists()
