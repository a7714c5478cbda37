"""Native libraries write notes to the error stream that no Python setting turns off."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def native_silence() -> Iterator[None]:
    """Drop what is written to file descriptor 2 inside the block. Python exceptions pass as ever."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


def quiet_tensorflow() -> None:
    """Import TensorFlow and let it look for devices without its notes. Without it a command says what is missing."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what is an error to us is raised
    with native_silence(), suppress(ImportError):
        import tensorflow as tf

        tf.config.list_physical_devices()
        tf.get_logger().setLevel("ERROR")
