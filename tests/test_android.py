"""Times on a phone: a stand-in for adb that says what the real one says, and notes what it was asked."""

import json
import os
import stat
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cnn_app.cli.main import cli

ADB = """#!{python}
import os, pathlib, sys
asked = sys.argv[1:]
with open({log!r}, "a") as log:
    print(*asked, sep="\\t", file=log)
if asked == ["devices"]:
    print("List of devices attached\\n" + os.environ["STATES"].replace(" ", "\\t"))
elif asked[2] == "push":
    assert pathlib.Path(asked[3]).is_file()
elif "benchmark_model --graph" in asked[3]:
    turn = pathlib.Path({log!r}).read_text().count("--graph")
    if "1.tflite" in asked[3] and os.environ.get("BROKEN"):
        print("ERROR: Failed to load model")
        sys.exit(1)
    print("INFO: count=5 first=9000 curr=2000 min=100 max=9000 avg=3000 std=9")
    print(f"INFO: count=50 first=2100 curr=2000 min={{1900 + turn}} max=2500 avg={{turn}}000.5 std=9")
    print("INFO: Inference timings in us: Init: 5000, First inference: 9000, "
          f"Warmup (avg): 3000, Inference (avg): {{turn}}000.5")
    print("INFO: Memory footprint delta from the start of the tool (MB): init=3.5 overall=7.25")
"""


@pytest.fixture
def phone(tmp_path, monkeypatch):
    """(ask, log): run the command, and what adb was asked."""
    log, adb = tmp_path / "log", tmp_path / "bin" / "adb"
    adb.parent.mkdir()
    adb.write_text(ADB.format(python=sys.executable, log=str(log)))
    adb.chmod(adb.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{adb.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STATES", "emulator-5554 device")
    for name in ("a; reboot.tflite", "b.tflite", "c.onnx", "benchmark_model"):
        (tmp_path / name).write_bytes(b"1234")

    def ask(*names, options=()):
        paths = [str(tmp_path / name) for name in names]
        return CliRunner().invoke(cli, ["benchmark", *paths, "--android", str(tmp_path / "benchmark_model"), *options])

    return ask, lambda: [line.split("\t") for line in log.read_text().splitlines()]


def test_files_are_timed_in_turns_and_nothing_stays_there(phone):
    ask, log = phone
    result = ask("a; reboot.tflite", "b.tflite", options=["--threads", "1,2", "--json"])
    found = json.loads(result.stdout)
    assert [(Path(one["path"]).name, one["threads"]) for one in found] == [
        ("a; reboot.tflite", 1), ("a; reboot.tflite", 2), ("b.tflite", 1), ("b.tflite", 2)]  # fmt: skip
    # Four cases in three turns: the first case was asked for in turns 1, 5 and 9.
    assert [one["mean_ms"] for one in found] == pytest.approx([5.0005, 6.0005, 7.0005, 8.0005])
    assert found[0]["min_ms"] == pytest.approx(1.901) and found[0]["max_ms"] == 2.5 and found[0]["first_ms"] == 9
    assert found[0]["start_ms"] == 5 and found[0]["memory_mib"] == 7.25 and found[0]["bytes"] == 4
    asked = log()
    assert {tuple(line[:2]) for line in asked[1:]} == {("-s", "emulator-5554")}
    assert not any("reboot" in word for line in asked for word in line if line[2:3] == ["shell"])
    folder = asked[1][3].removeprefix("mkdir -p ")
    assert folder.startswith("/data/local/tmp/cnn-app-") and asked[-1][2:] == ["shell", f"rm -rf {folder}"]
    assert sum("--num_threads=2" in line[-1] for line in asked) == 6


def test_people_get_a_table(phone):
    result = phone[0]("b.tflite")
    assert result.exit_code == 0 and "on emulator-5554" in result.stdout and "mean ms" in result.stdout


@pytest.mark.parametrize(("states", "options", "told"), [
    ("", [], "adb sees no device that is ready; connect one"),
    ("phone7 unauthorized", [], "phone7 is unauthorized; connect one and allow debugging"),
    ("one device\ntwo device", [], "adb sees 2 devices; choose one by --serial: one, two"),
    ("one device\ntwo device", ["--serial", "three"], "adb sees no device 'three', but one, two"),
    ("one device\ntwo offline", ["--serial", "two"], "no device that is ready: one is device, two is offline"),
])  # fmt: skip
def test_a_phone_that_cannot_be_used_is_one_line_before_any_work(phone, monkeypatch, states, options, told):
    monkeypatch.setenv("STATES", states)
    result = phone[0]("b.tflite", options=options)
    assert result.exit_code == 1 and told in result.stderr and len(result.stderr.splitlines()) == 1
    assert phone[1]() == [["devices"]]


def test_two_phones_and_one_that_is_named(phone, monkeypatch):
    monkeypatch.setenv("STATES", "one device\ntwo device")
    assert phone[0]("b.tflite", options=["--serial", "two"]).exit_code == 0
    assert all(line[:2] == ["-s", "two"] for line in phone[1]()[1:])


def test_a_file_that_does_not_run_is_named_and_goes_again(phone, monkeypatch):
    monkeypatch.setenv("BROKEN", "1")
    result = phone[0]("b.tflite", "a; reboot.tflite")
    assert (
        result.exit_code == 1 and "a; reboot.tflite does not run on the phone: ERROR: Failed to load" in result.stderr
    )
    assert phone[1]()[-1][3].startswith("rm -rf /data/local/tmp/cnn-app-")


def test_what_has_no_sense_is_told(phone, monkeypatch, tmp_path):
    ask, _ = phone
    assert "c.onnx is no .tflite file" in ask("c.onnx").stderr
    assert CliRunner().invoke(cli, ["benchmark", str(tmp_path / "b.tflite"), "--serial", "x"]).exit_code == 2
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "adb is not installed; install Android's platform tools" in ask("b.tflite").stderr
