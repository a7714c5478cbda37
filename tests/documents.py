"""The examples of a document, carried out in their order: commands behind `$ ` and blocks of Python."""

import contextlib
import io
import re
import shlex
import socket
import subprocess
import sys
from dataclasses import dataclass, field

from click.testing import CliRunner

from cnn_app.cli.main import cli

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?")
FREE = {"max |Δ|", "ms", "median ms", "p90 ms", "ratio", "peak MiB"}  # columns that differ from machine to machine
NEAR = {"drop": 2.0}  # by column
TOLERANCE = 0.03
PORTS = ("8501", "8500", "8400")  # that documents name
SERVERS = (["cnn-app", "serve"], ["cnn-app", "deliver", "serve"])


@dataclass
class Step:
    """A command with what a document says it prints, or a block of Python."""

    text: str
    python: bool = False
    printed: list[str] = field(default_factory=list)


def steps(document: str) -> list[Step]:
    found = []
    for kind, body in BLOCK.findall(document):
        if kind == "python":
            found.append(Step(body, python=True))
        elif not kind and body.startswith("$ "):
            for line in body.splitlines():
                if line.startswith("$ "):
                    found.append(Step(line[2:]))
                else:
                    found[-1].printed.append(line)
    return found


class Reader:
    """Does what a reader does, in the current folder; servers run until it is closed."""

    def __init__(self):
        self.servers = []
        self.ports = {port: str(free_port()) for port in PORTS}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.terminate()
        for server in self.servers:
            server.communicate()

    def do(self, step: Step) -> list[str]:
        """The lines that are printed. Raises AssertionError where the step fails."""
        if step.python:
            return self._python(self._with(step.text, self.ports))
        words = shlex.split(self._with(step.text, self.ports))
        if any(words[: len(server)] == server for server in SERVERS):
            printed = self._serve(words, len(step.printed))
        elif words[0] == "cnn-app":
            result = CliRunner(env={"COLUMNS": None}).invoke(cli, words[1:], catch_exceptions=False)
            assert result.exit_code == 0, f"{step.text}: {result.output}"
            printed = result.output
        else:
            printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        back = {ours: theirs for theirs, ours in self.ports.items()}
        return [line.rstrip() for line in self._with(printed, back).splitlines()]

    def _python(self, code: str) -> list[str]:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(code, "the document", "exec"), {})
        return out.getvalue().splitlines()

    def _serve(self, words: list[str], lines: int) -> str:
        if words[1] == "serve":
            words += ["--port", self.ports["8501"], "--grpc-port", self.ports["8500"]]
        code = "import sys; from cnn_app.cli.main import cli; cli(sys.argv[1:])"
        process = subprocess.Popen([sys.executable, "-c", code, *words[1:]], stdout=subprocess.PIPE, text=True)
        self.servers.append(process)
        return "".join(process.stdout.readline() for _ in range(lines))

    def _with(self, text: str, ports: dict[str, str]) -> str:
        for old, new in ports.items():
            text = re.sub(rf"\b{old}\b", new, text)
        return text


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def difference(wanted: list[str], printed: list[str]) -> str | None:
    """Where what is printed is not what a document says; a line of dots stands for any lines."""
    table: list[str] = []
    place, skipping = 0, False
    for line in wanted:
        if line.strip() == "...":
            skipping = True
            continue
        table = cells(line) if line.startswith("┃") else table if line[:1] in "┡│└" else []
        while True:
            if place == len(printed):
                return f"not printed: {line}"
            place += 1
            if alike(line, printed[place - 1], table):
                break
            if not skipping:
                return f"wanted: {line}\nprinted: {printed[place - 1]}"
        skipping = False
    return None if skipping or place == len(printed) else f"not told: {printed[place]}"


def alike(wanted: str, printed: str, table: list[str]) -> bool:
    """The same words, and numbers that are near."""
    if table and wanted.startswith("│"):
        ours, theirs = cells(wanted), cells(printed)
        return len(ours) == len(theirs) == len(table) and all(
            column in FREE or near(one, other, NEAR.get(column, TOLERANCE))
            for column, one, other in zip(table, ours, theirs, strict=True)
        )
    return near(wanted, printed, TOLERANCE)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split("[┃│]", line)[1:-1]]


def near(wanted: str, printed: str, tolerance: float) -> bool:
    wanted, printed = (plain(text) for text in (wanted, printed))
    ours, theirs = NUMBER.findall(wanted), NUMBER.findall(printed)
    if NUMBER.sub("#", wanted) != NUMBER.sub("#", printed):
        return False
    return all(close(one, other, tolerance) for one, other in zip(ours, theirs, strict=True))


def plain(text: str) -> str:
    """Without what follows from the day, the width of a column, or the very last bit of a training."""
    text = re.sub(r"\d{4}-\d{2}-\d{2}", "DATE", text)
    text = re.sub(r"epoch +\d+ kept", "epoch kept", text)
    return re.sub(r"[━─]+", "-", re.sub(r"\s+", " ", text)).strip()


def close(wanted: str, printed: str, tolerance: float) -> bool:
    """Counts are equal, large ones and others near."""
    if "," not in wanted and wanted.lstrip("+-").isdecimal():
        return wanted == printed
    one, other = (float(text.replace(",", "")) for text in (wanted, printed))
    return abs(one - other) <= max(tolerance, tolerance * abs(one))
