"""What the children of test_child.py run."""

import os
import sys

from cnn_app.errors import CnnAppError


def answering(kind):
    print("a library's words, which are no answer", flush=True)
    return {"echo": bytes, "memory": memory, "crash": lambda data: os.abort(), "refuse": refuse, "bug": bug,
            "hang": hang, "exit": lambda data: os._exit(3), "length": lambda data: str(len(data)).encode(),
            "pid": lambda data: str(os.getpid()).encode(), "large": lambda data: bytes(int(data))}[kind]  # fmt: skip


def broken(why):
    raise CnnAppError(why)


def crashing():
    os.abort()


def memory(data):
    bytearray(int(data))
    return b"held"


def refuse(data):
    raise CnnAppError(data.decode())


def bug(data):
    raise ZeroDivisionError("a bug\nof two lines")


def hang(data):
    """Hold the file at `data` open, tell in it who this is, and compute: in Python, or where no thread can run."""
    how, _, place = data.decode().partition(" ")
    with open(place, "w") as stream:
        print(os.getpid(), file=stream, flush=True)
        sys.set_int_max_str_digits(0)
        while how == "python":
            pass
        int("9" * 10**8)


def parent(how, place, seconds):
    """Of a script: a child that never answers."""
    from cnn_app.child import Child

    Child(answering, "hang").ask(f"{how} {place}".encode(), seconds)
