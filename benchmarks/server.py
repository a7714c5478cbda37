"""`cnn-app serve` in a process of its own, as the benchmarks start, watch and end it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

RUN = "from cnn_app.cli.main import cli; cli()"


class Server:
    """Its log goes to a file. `rest` and `grpc` are HOST:PORT."""

    def __init__(self, *arguments: object, port: int = 0, grpc_port: int = 0):
        self.log_file = tempfile.NamedTemporaryFile()  # by name, for a shared offset would be moved by reading
        command = [sys.executable, "-c", RUN, "serve", *map(str, arguments), "--port", str(port),
                   "--grpc-port", str(grpc_port)]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log_file, text=True)
        told = []
        for line in self.process.stdout:
            told.append(line)
            if line.startswith("page at "):
                break
        else:
            raise RuntimeError(f"the server did not start: {self.log()}")
        self.rest = told[-1].split("http://")[1].partition("/")[0]
        self.grpc = told[-1].split("grpc://")[1].strip()

    def alive(self) -> bool:
        return self.process.poll() is None

    def rss(self) -> int:
        """Bytes, of all its processes."""
        return sum(each.memory_info().rss for each in self._processes())

    def peak(self) -> int:
        """Bytes; the most that each of its processes had since `forget_peak`."""
        lines = (Path(f"/proc/{each.pid}/status").read_text().partition("VmHWM:")[2] for each in self._processes())
        return sum(int(line.split()[0]) * 1024 for line in lines if line)  # a process that has ended has none

    def forget_peak(self) -> None:
        for each in self._processes():
            Path(f"/proc/{each.pid}/clear_refs").write_text("5")

    def _processes(self) -> list[psutil.Process]:
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def log(self) -> str:
        return Path(self.log_file.name).read_text()

    def end(self) -> int:
        """Its exit status."""
        self.process.terminate()
        return self.process.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error) -> None:
        self.end()
        self.process.stdout.close()
        self.log_file.close()
