"""Full disks, dying processes, two at a time, and downloads that were cut off."""

import signal
import subprocess
import sys
from importlib import metadata as packages

import pytest
from publishing import ALL, Publisher, failing_write, flip, model_bytes, refused, tree
from writers import working_in

from cnn_app.delivery import catalogue, client
from cnn_app.delivery.entry import Entry
from cnn_app.delivery.exported import Exported
from cnn_app.errors import CnnAppError, DeliveryError

# Full disks, dying processes, two at a time.


GOLDEN = Exported(model_bytes(99), b"answers")
WRITES = ["model", "golden", "targets", "snapshot", "timestamp"]  # of an add


@pytest.mark.parametrize("count", range(1, 6), ids=WRITES)
def test_a_full_disk_at_any_write_leaves_the_old_state(publisher, count, monkeypatch):
    publisher.add("1.0.0")
    entry = Entry(name="photos", version="1.1.0")
    with (
        failing_write(monkeypatch, count),
        refused("cannot write .*: No space left", publisher.path, error=CnnAppError),
    ):
        catalogue.add(publisher.path, GOLDEN, entry, publisher.keys)
    assert publisher.fetch().entry.version == "1.0.0"
    catalogue.add(publisher.path, GOLDEN, entry, publisher.keys)
    assert catalogue.listing(publisher.path).entries[-1].version == "1.1.0"


def test_a_full_disk_at_init_leaves_nothing_but_keys(tmp_path, monkeypatch):
    publisher = Publisher(tmp_path)
    with failing_write(monkeypatch, 9), pytest.raises(CnnAppError, match="No space left"):
        publisher.create()
    assert not publisher.path.exists() and len(list(publisher.keys.folder.iterdir())) == 4
    publisher.create().add("1.0.0")


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
from cnn_app.cli.main import cli
cli(sys.argv[1:])
"""


def limited(*arguments):
    """A command that may write no file beyond 60 kB, which the operating system tells like a full disk."""
    command = [sys.executable, "-c", LIMITED, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def test_a_disk_that_fills_while_adding_or_fetching(publisher, tmp_path):
    publisher.add("1.0.0")
    publisher.fetch()
    file, before = tmp_path / "photos-int8.tflite", tree(publisher.path)
    file.write_bytes(model_bytes(5, 100_000))
    add = (
        "deliver",
        "add",
        publisher.path,
        file,
        "--name",
        "photos",
        "--version",
        "1.1.0",
        "--keys",
        publisher.keys.folder,
    )
    assert "Error: cannot write" in (told := limited(*add)) and "File too large; free some space" in told
    assert tree(publisher.path) == before
    publisher.add("1.1.0", data=file.read_bytes())
    told = limited("fetch", publisher.path, "photos", "--root", publisher.root, "--out", publisher.out)
    assert "Error: cannot write" in told and "File too large; free some space" in told and publisher.has("1.0.0")
    assert publisher.fetch().changed and publisher.has("1.1.0")


DYING = """
import os, signal, sys
from pathlib import Path
from cnn_app.delivery import catalogue
from cnn_app.delivery.entry import Entry
from cnn_app.delivery.exported import Exported
from cnn_app.delivery.keys import Keys
done, real = [], os.replace
def dying(*paths):
    done.append(paths)
    if len(done) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    real(*paths)
os.replace = dying
data = b"0000TFL3" + os.urandom(1000)
catalogue.add(Path(sys.argv[1]), Exported(data, data), Entry(name="photos", version="1.1.0"), Keys(Path(sys.argv[2])))
"""


@pytest.mark.parametrize("count", range(1, 6), ids=WRITES)
def test_a_keeper_that_is_killed_leaves_the_old_state(publisher, count):
    publisher.add("1.0.0")
    command = [sys.executable, "-c", DYING, publisher.path, publisher.keys.folder, str(count)]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    assert publisher.fetch().entry.version == "1.0.0" and publisher.has("1.0.0")
    added = publisher.add("1.1.0")
    assert publisher.fetch().entry == added and publisher.has("1.1.0")
    files = [path for path in (publisher.path / "targets").rglob("*") if path.is_file()]
    assert len(files) == 2 and not [path for path in publisher.path.rglob(".*")], "what was left is swept away"
    assert max(int(path.name.split(".")[0]) for path in publisher.metadata("").glob("*.targets.json")) == 3


def test_one_at_a_time(publisher):
    publisher.add("1.0.0")
    publisher.fetch()
    for folder, action in (
        (publisher.metadata(""), lambda: publisher.add("1.1.0")),
        (publisher.out.parent / ".photos.tflite-tuf", publisher.fetch),
    ):
        with working_in(folder) as process:
            with refused(rf"another process \({process.pid}: .*\) is at work in", publisher.path):
                action()
        action()


# Downloads.


def test_a_download_that_was_cut_off_goes_on_where_it_stopped(publisher, server):
    address, settings = server
    publisher.add("1.0.0")
    publisher.fetch(address)
    publisher.add("1.1.0", data=model_bytes(3, 1_000_000))
    settings |= {"cut": 300_000}
    sizes = []
    for _ in range(2):
        with refused("cannot download from .* was cut off.*; try again later, it goes on where it stopped"):
            publisher.fetch(address)
        assert publisher.has("1.0.0")
        sizes += [path.stat().st_size for path in publisher.out.parent.rglob("*.part")]
    assert sizes == [300_000, 600_000]
    del settings["cut"]
    assert publisher.fetch(address).changed and publisher.has("1.1.0")
    asked = [span for path, span in settings["requests"] if path.endswith(".tflite")]
    assert asked == [None, None, "bytes=300000-", "bytes=600000-"]
    assert not list(publisher.out.parent.rglob("*.part")) and not list(publisher.out.parent.rglob("parts"))


@pytest.mark.parametrize("rest", ["wrong", "no ranges", "complete", "too long"])
def test_what_an_earlier_download_left_is_verified(publisher, server, rest):
    address, settings = server
    publisher.add("1.0.0", data=model_bytes(3, 1_000_000))
    settings["cut"] = 300_000
    with pytest.raises(DeliveryError):
        publisher.fetch(address)
    del settings["cut"]
    part = next(publisher.out.parent.rglob("*.part"))
    if rest == "wrong":
        flip(part)
        with refused("holds other bytes than were signed"):
            publisher.fetch(address)
        assert not part.exists() and not publisher.out.exists()
    elif rest == "complete":
        part.write_bytes(model_bytes(3, 1_000_000))
    elif rest == "too long":
        part.write_bytes(model_bytes(3, 1_000_000) + b"x")
        with refused("holds other bytes than were signed"):
            publisher.fetch(address)
    settings |= {"ranges": rest != "no ranges", "requests": []}
    assert publisher.fetch(address).changed and publisher.has("1.0.0")
    asked = [span for path, span in settings["requests"] if path.endswith(".tflite")]
    assert asked == {"wrong": [None], "too long": [None], "no ranges": ["bytes=300000-"], "complete": []}[rest]


def test_a_source_that_is_none(publisher, server, tmp_path):
    address, settings = server
    publisher.add("1.0.0")
    for source, text in {
        "ftp://127.0.0.1/models": "is no address of a catalogue",
        "file:///etc": "is no address of a catalogue",
        f"{address}?token=1": "is no address of a catalogue",
        "http://[": "is no address of a catalogue",
        "http://a..b": "cannot download from .*label",
        str(tmp_path): "there is no catalogue at",
        "http://127.0.0.1:9": "cannot download from .*Connection refused",
        f"{address}/elsewhere": "cannot download from .* 404",
    }.items():
        with refused(text):
            publisher.fetch(source)
    assert not publisher.out.exists()
    settings["missing"] = 500
    with refused("cannot download from .* 500"):
        publisher.fetch(address)
    settings["missing"] = 403  # what a bucket says of a file that is not there
    assert publisher.fetch(address + "/").changed
    with refused("does not end in .tflite", tmp_path):
        client.fetch(address, ALL, root=publisher.root, out=tmp_path / "photos")


def test_the_runtime_is_that_of_tflite_runtime_or_unknown(monkeypatch):
    monkeypatch.setattr(client, "version", lambda name: {"tflite-runtime": "2.14.0"}[name])
    assert client.installed_runtime() == "2.14.0"

    def missing(name):
        raise packages.PackageNotFoundError(name)

    monkeypatch.setattr(client, "version", missing)
    assert client.installed_runtime() == ""
