"""Mistakes of one line, planted one by one in a clone of the repository: do the fast tests notice each of them?

    python benchmarks/mutations.py [FILE ...]

They are listed in mistakes.toml; with FILE those in files whose path ends so. Exits with 1 where one survived. Tests
run in forks of a process that has imported TensorFlow and not used it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_name("mistakes.toml")
FAILED = ("FAILED ", "ERROR ")  # in front of a test that did, in pytest's summary


@dataclass(frozen=True)
class Mistake:
    file: str
    text: str
    replacement: str
    tests: str  # behind pytest; what follows -k is one expression

    def command(self) -> tuple[str, ...]:
        places, _, chosen = self.tests.partition(" -k ")
        return (*places.split(), *(("-k", chosen) if chosen else ()))


def listed(endings: list[str]) -> list[Mistake]:
    """Those in files that end as one of `endings` does, or all."""
    rows = tomllib.loads(LIST.read_text(encoding="utf-8"))
    return [Mistake(file, *pair, tests) for file, groups in rows.items() for tests, pairs in groups.items()
            for pair in pairs if not endings or file.endswith(tuple(endings))]  # fmt: skip


def unfit(mistakes: list[Mistake], root: Path) -> list[str]:
    """Why some of them cannot be planted under `root`, a line each."""
    found = []
    for mistake in mistakes:
        count = (root / mistake.file).read_text(encoding="utf-8").count(mistake.text)
        if count != 1:
            found.append(f"{mistake.file} has {mistake.text!r} {count} times, not once; mend it in {LIST.name}")
    return found


def tested(root: Path, command: tuple[str, ...]) -> tuple[int, str]:
    """The status that pytest ends with under `root`, and the first test that failed."""
    log = root.with_suffix(".log")
    pid = os.fork()
    if not pid:
        _run(root, command, log)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return status, next((line.split(" - ")[0].split(" ", 1)[1] for line in lines if line.startswith(FAILED)), "")


def _run(root: Path, command: tuple[str, ...], log: Path) -> NoReturn:
    import pytest

    status = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(root)
        os.environ["PYTHONPATH"] = str(root)
        sys.path.insert(0, str(root))
        status = pytest.main(["-qx", "-p", "no:cacheprovider", *command])
    finally:
        sys.stdout.flush()
        os._exit(status)


def planted(mistake: Mistake, root: Path) -> tuple[int, str]:
    """As `tested`, with the mistake in its place."""
    path = root / mistake.file
    before = path.read_text(encoding="utf-8")
    path.write_text(before.replace(mistake.text, mistake.replacement), encoding="utf-8")
    try:
        return tested(root, mistake.command())
    finally:
        path.write_text(before, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="*", help="such as export/golden.py; by default all that are listed")
    endings, rows, survived = parser.parse_args().file, [], 0
    mistakes = listed(endings)
    if not mistakes:
        files = dict.fromkeys(mistake.file for mistake in listed([]))
        sys.exit(f"no mistake is listed for {', '.join(endings)}; known: {', '.join(files)}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow  # noqa: F401  once for all forks
    from rich.progress import track

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(root)], check=True)
        if lines := unfit(mistakes, root):
            sys.exit("\n".join(lines))
        for command in dict.fromkeys(mistake.command() for mistake in mistakes):
            if tested(root, command)[0]:
                sys.exit(f"{' '.join(command)} fails where nothing is planted; mend that first")
        for mistake in track(mistakes, "planting"):
            status, test = planted(mistake, root)
            survived += not status
            told, file = "caught" if status else "SURVIVED", mistake.file.removeprefix("cnn_app/")
            rows.append((file, mistake.text, mistake.replacement, told, test.partition("::")[2]))

    from cnn_app.cli.view import table  # not before: forks import that of the clone

    columns = ["file", "in place of", "stands", "", "by"]
    table(columns, rows, f"{len(rows) - survived} of {len(rows)} caught")
    sys.exit(bool(survived))


if __name__ == "__main__":
    main()
