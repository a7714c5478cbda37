"""A catalogue with its keys and a client, for the tests of delivery."""

import errno
import os
import shutil
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

from cnn_app.delivery import catalogue, client
from cnn_app.delivery.entry import Entry, Wanted
from cnn_app.delivery.exported import Exported
from cnn_app.delivery.keys import Keys
from cnn_app.errors import DeliveryError

ALL = Wanted(name="photos")


def model_bytes(seed, size=5_000):
    """What passes for a TFLite file where no interpreter looks."""
    return b"\x1c\0\0\0TFL3" + np.random.default_rng(seed).bytes(size)


class Publisher:
    """A catalogue with its keys, a client's output, and the bytes of every version."""

    def __init__(self, folder):
        self.path, self.keys, self.out = folder / "models", Keys(folder / "keys"), folder / "app" / "photos.tflite"
        self.root = folder / "root.json"
        self.published = {}

    def create(self, now=None):
        shutil.copy(catalogue.create(self.path, self.keys, now), self.root)
        return self

    def add(self, version, now=None, data=None, **about):
        data = data or model_bytes(len(self.published))
        entry = Entry(**{"name": "photos", "version": version} | about)
        added = catalogue.add(self.path, Exported(data, None), entry, self.keys, now)
        self.published[added.track, version] = data
        return added

    def rollback(self, to=None):
        return catalogue.rollback(self.path, "photos", to, "stable", self.keys)

    def fetch(self, source=None, wanted=ALL, root=None):
        return client.fetch(str(source or self.path), wanted, root=root or self.root, out=self.out)

    def has(self, version, track="photos/stable/any"):
        return self.out.read_bytes() == self.published[track, version]

    def metadata(self, name):
        return self.path / "metadata" / name

    def file(self, entry):
        return next(self.path.rglob(f"{entry.sha256}.*"))


def tree(folder):
    """All files below a folder with their bytes, hidden ones and folders too."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def flip(path, where=-20):
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)


@contextmanager
def refused(text, *folders, error=DeliveryError):
    """One line that matches `text`, and not a byte changed in `folders`."""
    before = [tree(folder) for folder in folders]
    with pytest.raises(error, match=text) as caught:
        yield
    assert "\n" not in str(caught.value)
    assert [tree(folder) for folder in folders] == before


class Loopback(SimpleHTTPRequestHandler):
    """Serves a folder with ranges; `cut` is after how many bytes of a model the connection breaks."""

    def do_GET(self):
        path, settings = Path(self.translate_path(self.path)), self.server.settings
        asked = self.headers.get("Range")
        settings["requests"].append((self.path, asked))
        if not path.is_file():
            return self.send_error(settings.get("missing", 404))
        data = path.read_bytes() + settings.get("more", {}).get(path.suffix, b"")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and settings.get("ranges", True) else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        cut = settings.get("cut") if path.suffix == ".tflite" else None
        self.wfile.write(data[start:][:cut])

    def log_message(self, *arguments):
        pass


@contextmanager
def failing_write(monkeypatch, count):
    """The disk is full when the `count`-th file takes its place."""
    done, real = [], os.replace

    def replace_file(*paths):
        done.append(paths)
        if len(done) == count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*paths)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace_file)
        yield
