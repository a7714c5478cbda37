"""A child may die in every way; its parent says which in one line, and goes on."""

import gc
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import children
import pytest

from cnn_app import child as module
from cnn_app.child import Child, ChildError
from cnn_app.errors import CnnAppError

LONG = 60  # seconds that nothing here takes
PATHS = (Path(module.__file__).parents[1], Path(__file__).parent)
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, PATHS))}


def asked(kind, request=b"", seconds=LONG, **options):
    with Child(children.answering, kind, **options) as child:
        return child.ask(request, seconds)


def test_bytes_come_back_as_they_were_whatever_a_library_prints():
    data = os.urandom(3 * 2**20)
    with Child(children.answering, "echo") as child:
        assert child.alive and [child.ask(part, LONG) for part in (data, b"", b"x")] == [data, b"", b"x"]
    assert not child.alive
    with pytest.raises(ChildError, match="it was closed"):
        child.ask(b"", LONG)


@pytest.mark.parametrize(
    "kind, told", [("crash", "it died by SIGABRT"), ("exit", "ended by itself with exit status 3")]
)
def test_a_death_is_told(kind, told, capfd):
    with Child(children.answering, kind) as child:
        for _ in range(2):  # it stays dead
            with pytest.raises(ChildError, match=told):
                child.ask(b"", LONG)
        assert not child.alive
    assert capfd.readouterr() == ("", "")


def test_a_refusal_and_a_bug_are_one_line_each_and_the_child_lives_on(capfd):
    with Child(children.answering, "refuse") as child:
        for text in ("no model", "no löwe"):
            with pytest.raises(CnnAppError, match=f"^{text}$"):
                child.ask(text.encode(), LONG)
        assert child.alive
    with pytest.raises(CnnAppError, match="^ZeroDivisionError: a bug$"):
        asked("bug")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("build, args, told", [(children.broken, ("why",), "^why$"), (children.crashing, (), "SIGABRT"),
                                               (children.answering, ("none",), "KeyError: 'none'")])  # fmt: skip
def test_what_goes_wrong_in_build_comes_out_of_the_first_request(build, args, told):
    with Child(build, *args) as child, pytest.raises(CnnAppError, match=told):
        child.ask(b"x" * 2**20, LONG)


@pytest.mark.parametrize("how", ["python", "native"])
def test_one_that_is_late_is_ended(tmp_path, how):
    with Child(children.answering, "hang") as child, pytest.raises(ChildError, match="it took more than 0.5 s"):
        child.ask(f"{how} {tmp_path / 'pid'}".encode(), 0.5)
    assert not child.alive


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_memory_has_a_limit():
    limit = {"memory_bytes": 256 * 2**20}
    assert asked("memory", b"%d" % (128 * 2**20), **limit) == b"held"
    with pytest.raises(ChildError, match="it needed more than 256 MiB"):
        asked("memory", b"%d" % (512 * 2**20), **limit)


def test_an_answer_has_a_limit(monkeypatch):
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 2**20)
    assert len(asked("large", b"%d" % 2**20)) == 2**20
    with pytest.raises(ChildError, match="its answer is larger than 1 MiB"):
        asked("large", b"%d" % (2**20 + 1))


def test_any_thread_may_ask():
    with Child(children.answering, "length") as child, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: int(child.ask(bytes(n), LONG)), range(0, 2000, 7))) == list(range(0, 2000, 7))


def test_one_that_nobody_holds_is_ended():
    child = Child(children.answering, "pid")
    process = child._process
    child.ask(b"", LONG)
    del child
    gc.collect()
    assert process.poll() == -signal.SIGKILL


@pytest.mark.parametrize("code", ["from cnn_app.child import Child; import children; "
                                  "print(Child(children.answering, 'length').ask(b'abc', 60))", None],
                         ids=["-c", "script"])  # fmt: skip
def test_a_parent_needs_no_guard(code, tmp_path):
    """Neither a script, whose top level would run twice, nor a line on the command line."""
    told = "import sys; print('once')\n" + (code or "")
    if code is None:
        (tmp_path / "helper.py").write_text("def build(suffix):\n    return lambda data: data + suffix.encode()\n")
        told += "from cnn_app.child import Child\nimport helper\nprint(Child(helper.build, '!').ask(b'abc', 60))\n"
        (tmp_path / "script.py").write_text(told)
    command = ["-c", told] if code else [str(tmp_path / "script.py")]
    found = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path)
    assert (found.stdout, found.stderr) == ("once\nb'3'\n" if code else "once\nb'abc!'\n", "")


@pytest.mark.parametrize("how, seconds", [("python", 600), ("native", 1)])
def test_it_ends_with_its_parent_even_if_it_computes(tmp_path, how, seconds):
    """However that ends: SIGKILL leaves no time to tell a child. Where no thread can run, it ends with its time."""
    place = tmp_path / "pid"
    os.mkfifo(place)
    code = f"import children; children.parent({how!r}, {str(place)!r}, {seconds})"
    process = subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT)
    with place.open() as held:
        assert int(held.readline()) != process.pid
        process.kill()
        process.wait()
        assert held.read() == ""  # its end closes the file
