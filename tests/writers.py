"""Processes that hold folders."""

import subprocess
import sys
from contextlib import contextmanager

HOLD = """
import sys
from pathlib import Path
from cnn_app.errors import CnnAppError
from cnn_app.lock import locked
with locked(Path(sys.argv[1]), CnnAppError):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def working_in(folder, code=HOLD):
    """A process that has printed that it holds `folder`, and lets go with the block."""
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.stdin.close()
