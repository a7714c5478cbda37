"""A process of ours that may die: what it computes from a file of others cannot take this process with it.

It is a fresh interpreter over two pipes. A request is HEADER and bytes; an answer is a status, HEADER and bytes.
Nothing that a child sends is unpickled, and an answer has a limit: a file may have taken the child over.

    with Child(build, "model.onnx", memory_bytes=4 * 2**30, imports=("onnxruntime",)) as child:
        answer = child.ask(b"...", seconds=60)
"""

from __future__ import annotations

import faulthandler
import json
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import IO, Any

from cnn_app import systems
from cnn_app.errors import CnnAppError

Answer = Callable[[bytes], bytes]
Parts = tuple[bytes | bytearray, ...]  # of one request
HEADER = struct.Struct("!Qd")  # length, and the seconds that a request may take
ANSWERED, REFUSED, FAILED, NO_MEMORY = b"0123"
MAX_ANSWER_BYTES = 2**30
START_SECONDS = 600.0  # a child that nobody could stop ends itself after so long
SPARE_SECONDS = 1.0  # its parent stops it first
CLOSING_SECONDS = 5.0  # between the end of its pipe and its own


class ChildError(CnnAppError):
    """Why there is no answer; the child is gone."""


class Child:
    """`build(*args)` makes, in the child, the function that answers; it lies in a module, and `args` are JSON.

    memory_bytes: what may be allocated beyond what `imports` and the module of `build` take; on Linux.
    imports: modules that are loaded before that limit holds.

    What goes wrong in `build` comes out of the first `ask`.
    """

    def __init__(self, build: Callable[..., Answer], *args, memory_bytes: int | None = None,
                 imports: Sequence[str] = ()):  # fmt: skip
        assert build.__module__ != "__main__", "a child cannot import what a script defines"
        self.memory_bytes = memory_bytes
        self._lock, self._late = threading.Lock(), ""
        what = json.dumps([build.__module__, build.__qualname__, args, memory_bytes, list(imports)])
        paths = os.pathsep.join(map(os.path.abspath, sys.path))  # the folder of a script is among them
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cnn_app.child", what], env=os.environ | {"PYTHONPATH": paths},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self._process.stdin and self._process.stdout
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._end = weakref.finalize(self, _end, self._process, self._requests, self._answers)

    def ask(self, request: bytes | Parts, seconds: float) -> bytes:
        """The answer; parts of a request are not copied into one here.

        Raises ChildError where the child died of it, CnnAppError with the child's own reason.
        """
        with self._lock:
            timer = threading.Timer(seconds, self._stop, (f"it took more than {seconds:g} s",))
            timer.daemon = True
            timer.start()
            try:
                _send(self._requests, request if isinstance(request, tuple) else (request,), seconds)
                status = _receive(self._answers, 1)[0]
                length, _ = HEADER.unpack(_receive(self._answers, HEADER.size))
                if length > MAX_ANSWER_BYTES:
                    self._stop(f"its answer is larger than {MAX_ANSWER_BYTES >> 20} MiB")
                    raise EOFError
                answer = _receive(self._answers, length)
            except (OSError, ValueError, EOFError):  # ValueError: it is closed
                raise ChildError(self._reason()) from None
            finally:
                timer.cancel()
                timer.join()  # it holds this object, and must not end a child that has answered
        if status == NO_MEMORY:
            raise ChildError(f"it needed more than {(self.memory_bytes or 0) >> 20} MiB")
        if status != ANSWERED:
            raise CnnAppError(answer.decode(errors="replace"))
        return answer

    @property
    def alive(self) -> bool:
        return self._end.alive and self._process.poll() is None

    def close(self) -> None:
        self._end()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def _stop(self, why: str) -> None:
        self._late = why
        self._process.kill()

    def _reason(self) -> str:
        if not self._end.alive:
            return "it was closed"
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(CLOSING_SECONDS)
            died = f"died by {signal.Signals(-code).name}" if code < 0 else f"ended by itself with exit status {code}"
            limit = f"; it may take {self.memory_bytes >> 20} MiB" if self.memory_bytes else ""
            return self._late or f"it {died}{limit}"
        self._stop("it closed its pipe")
        return self._late


def _end(process: subprocess.Popen, *pipes: IO[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in pipes:
        with suppress(OSError):  # what could not be sent is of no use
            pipe.close()


def _send(pipe: IO[bytes], parts: Parts, seconds: float = 0.0) -> None:
    pipe.write(HEADER.pack(sum(map(len, parts)), seconds))
    for part in parts:
        pipe.write(part)
    pipe.flush()


def _receive(pipe: IO[bytes], length: int) -> bytes:
    data = pipe.read(length)
    if len(data) < length:
        raise EOFError
    return data


def main(module: str, name: str, args: list, memory_bytes: int | None, imports: list[str]) -> None:
    """The child's side."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what libraries print is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what becomes of us
    waiting: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    built, result = _outcome(START_SECONDS, _built, module, name, args, memory_bytes, imports)
    while True:
        seconds, request = waiting.get()
        status, data = (built, result) if built != ANSWERED else _outcome(seconds + SPARE_SECONDS, result, request)
        answers.write(bytes([status]))
        _send(answers, (data,))
        if status == NO_MEMORY or built != ANSWERED:
            os._exit(1)


def _built(module: str, name: str, args: list, memory_bytes: int | None, imports: list[str]) -> Answer:
    for needed in (*imports, module):
        import_module(needed)
    systems.limit_memory(memory_bytes)
    return getattr(sys.modules[module], name)(*args)


def _outcome(seconds: float, function: Callable, *args) -> tuple[int, Any]:
    """What it returns, or why it does not. A timer that needs no Python ends what nobody waits for any more."""
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        return ANSWERED, function(*args)
    except CnnAppError as error:
        return REFUSED, str(error).encode(errors="replace")
    except MemoryError:
        return NO_MEMORY, b""
    except Exception as error:  # a library's, or our own bug: one line of it
        return FAILED, f"{type(error).__name__}: {error}".split("\n")[0][:300].encode(errors="replace")
    finally:
        faulthandler.cancel_dump_traceback_later()


def _listen(pipe: IO[bytes], waiting: queue.SimpleQueue[tuple[float, bytes]]) -> None:
    """Requests; the end of the pipe is that of the parent, and ours, whatever we compute."""
    with suppress(EOFError, MemoryError):
        while True:
            length, seconds = HEADER.unpack(_receive(pipe, HEADER.size))
            waiting.put((seconds, _receive(pipe, length)))
    os._exit(1)


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
