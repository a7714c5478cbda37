"""What python-tuf raises, in a line that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from tuf.api import exceptions
from tuf.api.serialization import DeserializationError

from cnn_app.errors import DeliveryError

# The first that fits counts: a subclass stands before its base.
MESSAGES = (
    (exceptions.UnsignedMetadataError, "the signature of {where} is broken",
     "its publisher looks who changed it; a client looks whether its root is this catalogue's"),
    (exceptions.BadVersionNumberError, "{where} goes backwards", "an older state is shown again; ask its publisher"),
    (exceptions.LengthOrHashMismatchError, "{where} holds other bytes than were signed",
     "its publisher uploads it again, timestamp.json last"),
    (DeserializationError, "{where} holds metadata that cannot be read", "its publisher restores it"),
    (exceptions.RepositoryError, "{where} is not consistent", "its publisher restores it"),
    (exceptions.DownloadLengthMismatchError, "{where} sends more than was signed", "its publisher uploads it again"),
    (exceptions.DownloadError, "cannot download from {where}", "try again later, it goes on where it stopped"),
)  # fmt: skip


@contextmanager
def told(where) -> Iterator[None]:
    """Errors of TUF and of the disk inside the block become one line about `where`."""
    try:
        yield
    except tuple(kind for kind, *_ in MESSAGES) as error:
        what, advice = next((what, advice) for kind, what, advice in MESSAGES if isinstance(error, kind))
        text = " ".join(str(error).split())[:200]
        raise DeliveryError(f"{what.format(where=where)}: {text}; {advice}") from error
    except OSError as error:
        place = error.filename or where
        raise DeliveryError(f"cannot write {place}: {error.strerror or error}; free some space or choose another "
                            "place") from error  # fmt: skip
