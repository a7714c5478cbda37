"""SIGKILLs at any moment of the commands that write: what is left is the old state, the new one, or one to resume.

python benchmarks/kills.py --kills 1000

Commands run in forks of a process that has imported TensorFlow and not used it. Every other kill is at a moment of the
whole run; the rest are in front of a change of a file.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf  # noqa: F401  imported once for all forks
from kill_cases import CASES, RECIPE, RESUME, setup

from cnn_app import recipe
from cnn_app.cli.main import cli
from cnn_app.jobs import average, export, finetune, predict, run, train  # noqa: F401

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"}  # audited before they are done
WRITING = os.O_WRONLY | os.O_RDWR


@dataclass(frozen=True)
class Ended:
    code: int  # negative for a signal
    seconds: float
    changes: int
    output: str


def carried_out(folder: Path, words: list[str], seconds: float | None = None, changes: int | None = None) -> Ended:
    """Run a command in `folder`, and kill it after so many seconds, or in front of its n-th change of a file."""
    log, count, start = folder.with_suffix(".log"), folder.with_suffix(".count"), time.monotonic()
    pid = os.fork()
    if not pid:
        _child(folder, words, changes, log, count)
    while not (done := os.waitpid(pid, os.WNOHANG))[0]:
        time.sleep(0.001)
        if seconds is not None and time.monotonic() - start >= seconds:
            os.kill(pid, signal.SIGKILL)
            done = os.waitpid(pid, 0)
            break
    spent = time.monotonic() - start
    code = os.waitstatus_to_exitcode(done[1])
    return Ended(
        code, spent, int(count.read_text()) if code == 0 else 0, log.read_text(errors="replace") if log.exists() else ""
    )


def _child(folder: Path, words: list[str], last: int | None, log: Path, count: Path) -> None:
    code, done = 1, 0

    def hook(event, arguments):
        nonlocal done
        if event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING):
            done += 1
            if done == last:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(folder)
        tempfile.tempdir = str(folder.with_suffix(".tmp"))
        os.makedirs(tempfile.tempdir, exist_ok=True)
        (folder.parent / "quickstart.toml").write_text(RECIPE)
        recipe.shipped = lambda: {"quickstart": folder.parent / "quickstart.toml"}
        sys.argv = ["cnn-app", *words]
        sys.addaudithook(hook)
        cli()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else bool(end.code)
    except BaseException:
        traceback.print_exc()
    finally:
        last = None
        count.write_text(str(done))
        sys.stdout.flush()
        os._exit(code)


def copied(template: Path, folder: Path, parts: tuple[str, ...]) -> Path:
    """A folder of its own for a trial, with those parts of the template."""
    for old in folder.parent.glob(f"{folder.name}*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    folder.mkdir(parents=True)
    for part in parts:
        source = template / part
        shutil.copytree(source, folder / part) if source.is_dir() else shutil.copy(source, folder / part)
    return folder


def demanded(folder: Path, words: list[str]) -> Ended:
    """A command that must succeed."""
    ended = carried_out(folder, words)
    assert ended.code == 0, f"{' '.join(words)} ended with {ended.code}: {ended.output[-2000:]}"
    return ended


class Trials:
    """Of one command: its undisturbed run, and runs that are killed."""

    def __init__(self, name: str, template: Path, folder: Path):
        self.case, self.template, self.folder = CASES[name], template, folder
        copied(template, folder, self.case.parts)
        self.old = self.case.state(folder)
        self.whole = demanded(folder, self.case.words)
        self.new = self.case.state(folder)

    def once(self, place: random.Random, at_change: bool) -> dict:
        """One kill: the state that it left, the scratch after the next command, and whether that did what was due."""
        code, redrawn = 0, 0
        while code != -signal.SIGKILL:  # a moment behind the end is none
            copied(self.template, self.folder, self.case.parts)
            moment = ({"changes": place.randint(1, self.whole.changes)} if at_change
                      else {"seconds": place.uniform(0, self.whole.seconds)})  # fmt: skip
            code, redrawn = carried_out(self.folder, self.case.words, **moment).code, redrawn + 1
            assert code in (0, -signal.SIGKILL) and redrawn < 50, f"ended with {code}"
        left = self.case.state(self.folder)
        known = {RESUME: "resume", repr(self.new): "new", repr(self.old): "old"}
        state = known.get(left if left == RESUME else repr(left), "mixed")
        assert state in self.case.following, f"neither old nor new: {left!r}"
        demanded(self.folder, self.case.following[state])
        result = {"state": state, "moment": moment}
        if state in ("old", "resume"):
            result["equal"] = repr(self.case.state(self.folder)) == repr(self.new)
        return result | {"scratch": len(list(self.folder.rglob(".cnn-app*")))}


def worker(template: Path, folder: Path, jobs: list[tuple[str, int]], seed: int, lines: Path) -> None:
    """Carry out `jobs`, a line of JSON for each."""
    trials: dict[str, Trials] = {}
    with lines.open("w") as file:
        for name, number in jobs:
            try:
                if name not in trials:
                    trials[name] = Trials(name, template, folder)
                found = trials[name].once(random.Random(f"{seed} {name} {number}"), number % 2 == 1)
            except Exception as error:
                found = {"failure": f"{type(error).__name__}: {error}"}
            print(json.dumps({"command": name, "number": number} | found), file=file, flush=True)


def wrong(one: dict) -> bool:
    return "failure" in one or one["scratch"] > 0 or one.get("equal") is False


def table(results: list[dict]) -> str:
    """A line for each command, and one for all."""
    states = ("old", "new", "mixed", "resume")
    columns = ("kills", *states, "equal when done again", "scratch after the next command", "failures")
    rows = [f"| command | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    for name in [*dict.fromkeys(one["command"] for one in results), "all"]:
        own = [one for one in results if name in ("all", one["command"])]
        left, equal = Counter(one.get("state") for one in own), [one["equal"] for one in own if "equal" in one]
        cells = [len(own), *(left[state] for state in states), f"{sum(equal)} of {len(equal)}"]
        cells += [sum(one.get("scratch", 0) for one in own), sum(map(wrong, own))]
        rows.append(f"| {name} | {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--commands", default=",".join(CASES), help="of these, with commas")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names = options.commands.split(",")
    weighted = [name for name in names for _ in range(CASES[name].share)]
    counts = Counter(weighted[number % len(weighted)] for number in range(options.kills))
    jobs = [(name, number) for name in names for number in range(counts[name])]
    with tempfile.TemporaryDirectory() as base:
        template = Path(base) / "template"
        template.mkdir()
        for words in setup(template, {part for name in names for part in CASES[name].parts}):
            demanded(template, words)
        pids, files = [], [Path(base) / f"worker{number}.jsonl" for number in range(options.workers)]
        for number, file in enumerate(files):
            if not (pid := os.fork()):
                worker(
                    template,
                    Path(base) / f"worker{number}" / "trial",
                    jobs[number :: options.workers],
                    options.seed,
                    file,
                )
                os._exit(0)
            pids.append(pid)
        for pid in pids:
            os.waitpid(pid, 0)
        results = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    for one in filter(wrong, results):
        print(json.dumps(one), file=sys.stderr)
    print(table(results))
    return int(len(results) < len(jobs) or any(map(wrong, results)))


if __name__ == "__main__":
    sys.exit(main())
