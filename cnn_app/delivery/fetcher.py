"""How TUF's client gets its files: from a folder or by HTTP; a download that was cut off goes on where it stopped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import IO, BinaryIO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError, RepositoryError
from tuf.ngclient import FetcherInterface

from cnn_app import __version__

TIMEOUT_S = 30  # to connect, and between two pieces
CHUNK = 256 * 1024


class ResumingFetcher(FetcherInterface):
    """`parts` holds what came of each target; its name starts with the target's digest, so it never goes stale."""

    def __init__(self, parts: Path):
        self.parts = parts
        self.last = b""  # metadata, to say what of it is wrong

    def _fetch(self, url: str) -> Iterator[bytes]:
        with opened(url) as (stream, _):
            yield from chunks(stream, url)

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Metadata: small, and read from its beginning."""
        with super().download_file(url, max_length) as file:
            self.last = file.read()
        return self.last

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO]:
        """A target of `max_length` bytes. What was received stays when the connection breaks, not when it is wrong."""
        part = self.parts / (url.rpartition("/")[2] + ".part")
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("a+b") as file:
            try:
                complete(file, url, max_length)
                file.seek(0)
                yield file
            except (RepositoryError, DownloadLengthMismatchError):
                part.unlink()
                raise


def complete(file: BinaryIO, url: str, length: int) -> None:
    """Append what `file` lacks of the `length` bytes at `url`."""
    have = file.seek(0, os.SEEK_END)
    if have >= length:
        return  # whether they are the right ones is TUF's to say
    with opened(url, have) as (stream, have):
        file.truncate(have)
        for chunk in chunks(stream, url):
            have += len(chunk)
            if have > length:
                raise DownloadLengthMismatchError(f"{url} is longer than its {length} bytes")
            file.write(chunk)
    if have < length:
        raise DownloadError(f"{url} was cut off after {have} of {length} bytes")


@contextmanager
def opened(url: str, start: int = 0) -> Iterator[tuple[BinaryIO, int]]:
    """A stream from byte `start` on, and where it really starts: at 0 if a server knows no ranges."""
    try:
        stream, start = _from_server(url, start) if "://" in url else _from_folder(Path(url), start)
    except HTTPError as error:
        error.close()
        raise DownloadHTTPError(f"{url}: the server says {error.code} {error.reason}", error.code) from error
    except FileNotFoundError as error:
        raise DownloadHTTPError(f"{url} is not there", 404) from error
    except (OSError, HTTPException, ValueError) as error:  # ValueError: an address that none can have
        raise DownloadError(f"{url}: {error}") from error
    with stream:
        yield stream, start


def _from_server(url: str, start: int):
    headers = {"User-Agent": f"cnn-app/{__version__}"} | ({"Range": f"bytes={start}-"} if start else {})
    response = urlopen(Request(url, headers=headers), timeout=TIMEOUT_S)
    return response, start if response.status == 206 else 0


def _from_folder(path: Path, start: int):
    file = path.open("rb")
    file.seek(start)
    return file, start


def chunks(stream: BinaryIO, url: str) -> Iterator[bytes]:
    try:
        while chunk := stream.read(CHUNK):
            yield chunk
    except (OSError, HTTPException) as error:
        raise DownloadError(f"{url} was cut off: {error!r}") from error
