"""Several machines that train one model: who they are, by TF_CONFIG, and where those write that only run along."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cnn_app.errors import TrainingError, first_line, unknown

VARIABLE = "TF_CONFIG"
ROLES = ("chief", "worker")
WAIT_SECONDS = 600  # for workers that are not there yet
RETRY_SECONDS = 0.2
OWN = ("serving", "mobile", "onnx")  # of a model directory: what a run does not go on from


@dataclass(frozen=True)
class Cluster:
    """Workers by their addresses, host:port, of which the first is the chief, which alone writes."""

    workers: tuple[str, ...]
    index: int  # which of them this process is

    @property
    def is_chief(self) -> bool:
        return self.index == 0

    def called(self, index: int) -> str:
        return f"worker {index} at {self.workers[index]}"

    def gather(self, seconds: float = WAIT_SECONDS) -> None:
        """Wait until all are there, so that all begin together. Raises TrainingError for one that is not.

        A port that takes connections is one of a worker that waits, or that has gone on.
        """
        end = time.monotonic() + seconds
        with self._listening():
            for index, address in enumerate(self.workers):
                while index != self.index and not answers(address):
                    if time.monotonic() > end:
                        raise TrainingError(f"{self.called(index)} did not appear within {seconds:g} s; start it, or "
                                            f"leave it out of {VARIABLE}")  # fmt: skip
                    time.sleep(RETRY_SECONDS)

    def lost(self) -> str:
        """Those that take no connections any more, for a message."""
        gone = [self.called(i) for i, address in enumerate(self.workers) if i != self.index and not answers(address)]
        return " and ".join(gone) or "another worker"

    def _listening(self) -> socket.socket:
        _, port = _parts(self.workers[self.index])
        try:
            if socket.has_dualstack_ipv6():
                return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
            return socket.create_server(("", port))
        except OSError as error:
            raise TrainingError(
                f"{self.called(self.index)}, which is this process, cannot listen: {error.strerror}; end what does, "
                f"or choose another port in {VARIABLE}"
            ) from error


def here() -> Cluster | None:
    """What TF_CONFIG says; None where there is none, or one worker. Raises TrainingError where it makes no sense."""
    text = os.environ.get(VARIABLE, "").strip()
    return parse(text) if text else None


def parse(text: str) -> Cluster | None:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TrainingError(f"{VARIABLE} is no JSON: {first_line(error)}; received {text[:80]!r}") from error
    cluster = values.get("cluster") if isinstance(values, dict) else None
    if not cluster and isinstance(values, dict):
        return None
    if not isinstance(cluster, dict) or not all(_addresses(found) for found in cluster.values()):
        raise TrainingError(f"{VARIABLE} needs a cluster of lists of addresses, such as "
                            f'{{"worker": ["a:2222", "b:2222"]}}; received {text[:80]!r}')  # fmt: skip
    for role in cluster:
        if role not in ROLES:
            raise unknown(f"role in {VARIABLE}", role, ROLES, TrainingError)
    workers = tuple(address for role in ROLES for address in cluster.get(role, ()))
    if len(set(workers)) < len(workers):
        raise TrainingError(f"{VARIABLE} has an address twice: {', '.join(workers)}")
    task = values.get("task")
    role, index = (task.get("type"), task.get("index")) if isinstance(task, dict) else (None, None)
    known = cluster.get(role, ()) if isinstance(role, str) else ()
    if type(index) is not int or not 0 <= index < len(known):
        raise TrainingError(f"{VARIABLE} needs a task of its cluster, such as "
                            f'{{"type": "worker", "index": 0}}; received {str(task)[:80]}')  # fmt: skip
    place = index if role == ROLES[0] else index + len(cluster.get(ROLES[0], ()))
    return Cluster(workers, place) if len(workers) > 1 else None


@contextmanager
def place(out: str | os.PathLike[str], *, resume: bool) -> Iterator[Path]:
    """Where this process writes what is for `out`: there or, but for the chief, into a copy that goes in the end."""
    found = here()
    if found is None or found.is_chief:
        yield Path(out)
        return
    with tempfile.TemporaryDirectory(prefix="cnn-app-") as folder:
        copy = Path(folder, Path(out).resolve().name)
        if resume and Path(out).is_dir():
            shutil.copytree(out, copy, ignore=shutil.ignore_patterns(*OWN, ".cnn-app*"))
        yield copy


def answers(address: str) -> bool:
    """Whether a port takes connections."""
    try:
        with socket.create_connection(_parts(address), timeout=5):
            return True
    except OSError:
        return False


def _addresses(found) -> bool:
    """Whether it is a list of host:port."""
    return isinstance(found, list) and bool(found) and all(isinstance(one, str) and _is_address(one) for one in found)


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and text.isprintable() and port.isascii() and port.isdigit() and 0 < int(port[:6]) < 2**16


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
