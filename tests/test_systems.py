"""What other systems lack is blocked here, as there is none of them to try."""

import ast
import asyncio
import ctypes
import io
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from cnn_app import systems
from cnn_app.cli import view
from cnn_app.runtimes.latency import Speed
from cnn_app.serving.server import run

ROOT = Path(__file__).parents[1]
SHAPES = ROOT / "tests" / "compat" / "store" / "shapes" / "mobile" / "shapes-int8.tflite"
POSIX = {"fcntl", "grp", "pwd", "resource", "termios"}
# psutil's part for Linux needs them; on other systems it has other parts.
BLOCK = f"import sys, psutil; sys.modules |= dict.fromkeys({sorted(POSIX)})"
ALL = """
import contextlib, io, sys
from cnn_app.cli.main import cli
for words in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as told:
        cli(words.split(" "), standalone_mode=False)
    print(told.getvalue())
"""


@pytest.fixture
def elsewhere(tmp_path):
    """Runs Python where nothing has those modules, children neither."""
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    paths = os.pathsep.join(map(str, (tmp_path, ROOT, ROOT / "tests" / "attack")))

    def python(*words):
        # filelock warns of a mere file as lock, which is for systems with neither fcntl nor Windows's locks.
        command = [sys.executable, "-W", "ignore:only soft file lock", *words]
        return subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)

    return python


def test_help_needs_no_module_that_is_missing_elsewhere(elsewhere):
    done = elsewhere("-m", "cnn_app", "--help")
    assert (done.returncode, done.stderr) == (0, "") and "predict" in done.stdout
    assert elsewhere("-c", "import resource").returncode  # it is blocked


def test_a_child_answers_without_limits_of_memory(elsewhere):
    code = "import children; from cnn_app.child import Child; "
    code += "print(Child(children.answering, 'echo', memory_bytes=1).ask(b'there', 60).decode())"
    done = elsewhere("-c", code)
    assert (done.stdout, done.stderr) == ("there\n", "")


def test_a_file_runs_and_is_timed(elsewhere):
    code = "import sys; from cnn_app.runtimes.latency import measure; print(measure(sys.argv[1:])[0].peak_mib)"
    done = elsewhere("-c", code, str(SHAPES))
    assert done.stderr == "" and 10 < float(done.stdout) < 400


@pytest.mark.slow
def test_files_are_verified_and_answer(elsewhere):
    done = elsewhere("-c", ALL, f"verify {SHAPES} --json", f"predict {SHAPES} {ROOT}/tests/compat/picture.png --json")
    assert done.returncode == 0, done.stderr
    verified, _, answers = done.stdout.partition("\n\n")
    assert json.loads(verified)[0]["passed"] and json.loads(answers)


def test_only_one_module_imports_what_is_missing_elsewhere():
    found = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "cnn_app").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Import)
        and POSIX & {alias.name for alias in node.names}
        or isinstance(node, ast.ImportFrom)
        and node.module in POSIX
    }
    assert found == {"cnn_app/systems.py"}


@pytest.mark.parametrize("unit, told", [(1, 3.0), (1024, 3072.0)], ids=["macOS", "other"])
def test_peak_memory_is_in_the_systems_unit(monkeypatch, tmp_path, unit, told):
    usage = SimpleNamespace(getrusage=lambda who: SimpleNamespace(ru_maxrss=3 * 2**20), RUSAGE_SELF=0)
    monkeypatch.setattr(systems, "STATUS", tmp_path / "none")
    monkeypatch.setattr(systems, "resource", usage)
    monkeypatch.setattr(systems, "MAXRSS_BYTES", unit)
    assert systems.peak_mib() == told


def test_peak_memory_of_linux_is_what_getrusage_tells(monkeypatch, tmp_path):
    here = systems.peak_mib()
    monkeypatch.setattr(systems, "STATUS", tmp_path / "none")
    assert systems.peak_mib() == pytest.approx(here, rel=0.5)


@pytest.mark.parametrize("memory, told", [({"peak_wset": 5 * 2**20}, 5.0), ({}, None)], ids=["Windows", "other"])
def test_peak_memory_without_getrusage(monkeypatch, tmp_path, memory, told):
    monkeypatch.setattr(systems, "STATUS", tmp_path / "none")
    monkeypatch.setattr(systems, "resource", None)
    monkeypatch.setattr(psutil, "Process", lambda: SimpleNamespace(memory_info=lambda: SimpleNamespace(**memory)))
    assert systems.peak_mib() == told


def test_unknown_memory_is_an_empty_cell(capsys):
    view.speeds([Speed(str(SHAPES), 1, 1.0, 1.0, None)], False)
    cells = [cell.strip() for cell in capsys.readouterr().out.split("\n")[3].split("│")]
    assert cells[-4:] == ["", "", "", ""]  # memory, delegates, operators outside, the border


class Deaf(asyncio.SelectorEventLoop):
    """As loops are on Windows."""

    def add_signal_handler(self, *_):
        raise NotImplementedError


@pytest.mark.parametrize("loop", [asyncio.SelectorEventLoop, Deaf])
def test_a_signal_stops(loop):
    before = {number: signal.getsignal(number) for number in systems.STOPS}

    async def until_told(number):
        stopped = asyncio.Event()
        systems.on_stop(asyncio.get_running_loop(), stopped.set)
        signal.raise_signal(number)
        await asyncio.wait_for(stopped.wait(), 60)

    try:
        for number in systems.STOPS:
            with asyncio.Runner(loop_factory=loop) as runner:
                runner.run(until_told(number))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_windows_flushes_what_may_be_written(monkeypatch, tmp_path):
    flushed = []
    monkeypatch.setattr(systems, "WINDOWS", True)
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(os.write(descriptor, b"x")))
    (tmp_path / "file").write_bytes(b"xy")
    systems.flush(tmp_path / "file")
    assert flushed == [1] and (tmp_path / "file").read_bytes() == b"xy"


def test_windows_has_no_modes(monkeypatch):
    assert systems.open_to_others(0o640) and not systems.open_to_others(0o600)
    monkeypatch.setattr(systems, "WINDOWS", True)
    assert not systems.open_to_others(0o666)


def test_a_pipe_of_windows_takes_utf8(monkeypatch):
    pipe = io.TextIOWrapper(io.BytesIO(), "cp1252")
    monkeypatch.setattr(systems, "WINDOWS", True)
    systems.write_utf8(pipe, None)
    pipe.write("max |Δ|")
    pipe.flush()
    assert pipe.buffer.getvalue() == "max |Δ|".encode()


def test_the_c_library_may_have_no_name(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: "/" in name)  # as on Windows
    run._give_back_large_blocks()


def test_a_port_that_is_held_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as held, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, systems.REUSE, 1)
        with pytest.raises(OSError):
            other.bind(held.getsockname())
