"""EXIF's orientation: one answer, however the image lies in its file and whoever is asked."""

import itertools
import json

import numpy as np
import photos
import pytest
import served
import tensorflow as tf
from c_session import Session
from click.testing import CliRunner
from photos import KINDS, LABELS, ORIENTATIONS, encoded, exif, letter, stored, turned, with_exif

import cnn_app
from cnn_app.cli.main import cli
from cnn_app.inputs import orientation as reading
from cnn_app.inputs import pixels
from cnn_app.inputs.image import Image
from cnn_app.serving.client import Client

UPRIGHT = letter(5000)


def read(data):
    return int(reading.orientation(tf.constant(data)))


@pytest.mark.parametrize("big", [False, True], ids=["little", "big"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_it_is_read_and_makes_upright(orientation, kind, big):
    data = stored(UPRIGHT, orientation, kind, big)
    assert read(data) == orientation
    for spec in (Image((40, 40, 3)), Image((33, 48, 1)), Image((48, 33, 3), "crop", 0.7), Image((33, 48, 3), "pad")):
        found = pixels.load(data, "x", spec).astype(int)
        wanted = pixels.load(encoded(UPRIGHT, "PNG"), "x", spec).astype(int)
        assert np.abs(found - wanted).max() <= (1 if kind != "JPEG" else 60)
        assert np.abs(found - wanted).mean() < (0.01 if kind != "JPEG" else 2.5)
    np.testing.assert_array_equal(
        reading.upright_array(np.asarray(turned(UPRIGHT, photos.BACK.get(orientation, orientation))), orientation),
        np.asarray(UPRIGHT),
    )


PLAIN = {kind: encoded(UPRIGHT, kind) for kind in KINDS}
DAMAGED = {
    "zero": exif(0),
    "nine": exif(9),
    "a large one": exif(0x0600),
    "a long number": exif(6, kind=4),
    "a text": exif(6, kind=2),
    "another tag": exif(6, tag=0x0113),
    "no TIFF": b"XX" + exif(6)[2:],
    "of two orders": b"MM" + exif(6)[2:],
    "not 42": exif(6)[:2] + b"\x2b" + exif(6)[3:],
    "cut in the entry": exif(6)[:-10],
    "cut in the directory": exif(6)[:9],
    "cut in the head": exif(6)[:5],
    "nothing": b"",
    "a directory behind the end": exif(6, directory=10**6),
    "a directory far behind the end": exif(6, directory=2**32 - 1),
    "a directory that is the head": exif(6, directory=0),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", DAMAGED)
def test_what_makes_no_sense_is_upright(damage, kind):
    data = with_exif(PLAIN[kind], DAMAGED[damage])
    assert read(data) == 1
    spec = Image((16, 16, 3))
    np.testing.assert_array_equal(pixels.load(data, "x", spec), pixels.load(PLAIN[kind], "x", spec))


def segment(marker, content):
    return bytes([0xFF, marker]) + (2 + len(content)).to_bytes(2, "big") + content


SIX = b"Exif\0\0" + exif(6)


@pytest.mark.parametrize(
    "parts, orientation",
    [
        (segment(0xE1, SIX), 6),
        (segment(0xE0, b"JFIF\0" + bytes(9)) + segment(0xE1, SIX), 6),
        (segment(0xE2, bytes(10_000)) + segment(0xE1, SIX), 6),
        (segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0Exif\0\0") + segment(0xE1, SIX), 6),
        (segment(0xED, SIX) + segment(0xFE, b"a comment") + b"\xff\xff" + segment(0xE1, SIX), 6),
        (segment(0xE1, SIX) + segment(0xE1, b"Exif\0\0" + exif(3)), 6),
        (segment(0xED, SIX), 1),
        (segment(0xDB, SIX) + segment(0xE1, SIX), 1),
        (b"\xff\xe1\xff\xff" + SIX, 6),
        (b"\xff\xe1\0\0" + SIX, 1),
        (b"\xff\xe1\0\x0c" + SIX, 1),
        (segment(0xE3, b"") * 400 + segment(0xE1, SIX), 1),
        (b"Exif\0\0" * 100, 1),
        (b"", 1),
    ],
    ids="alone behind-jfif behind-a-profile behind-xmp filled the-first elsewhere too-late long empty short many text "
    "nothing".split(),
)
def test_segments_of_a_jpeg(parts, orientation):
    assert read(b"\xff\xd8" + parts + b"\xff\xdb") == orientation


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"RIFF\0\0\0\0WEBPVP8X", b"eXIf"])
def test_files_that_are_cut_off(data):
    assert read(data) == 1


def test_other_writers():
    """The prefix of a JPEG in a WebP, and an eXIf chunk behind a PNG's pixels, which is not heeded."""
    assert read(with_exif(PLAIN["WEBP"], SIX)) == 6
    png = PLAIN["PNG"]
    assert read(png[:-12] + photos.png_chunk(b"eXIf", exif(6)) + png[-12:]) == 1


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for kind in KINDS:
        for orientation in ORIENTATIONS:
            data = stored(UPRIGHT, orientation, kind, big=orientation % 2 == 0)
            (folder / f"{kind}-{orientation}.{kind.lower()}").write_bytes(data)
    (folder / "plain.png").write_bytes(PLAIN["PNG"])
    return sorted(folder.iterdir())


@pytest.mark.slow
def test_one_answer_of_all(letters, files):
    """The command on each file, the SavedModel without Python, REST, gRPC and the client."""
    wanted = cnn_app.predict(letters, [files[-1]])[0].answer["top"]
    assert wanted[0]["label"] == "upright" and wanted[0]["probability"] > 0.9
    for path in (
        letters,
        letters / "serving" / "1",
        letters / "mobile" / "letters-float32.tflite",
        letters / "onnx" / "letters.onnx",
    ):
        result = CliRunner().invoke(cli, ["predict", str(path), *map(str, files), "--json"])
        answers = json.loads(result.stdout)
        assert len(answers) == len(files) == 25
        for answer in answers:
            assert answer["top"][0]["label"] == "upright"
            assert answer["top"][0]["probability"] == pytest.approx(wanted[0]["probability"], abs=0.02)
    data = [file.read_bytes() for file in files]
    session = Session(letters / "serving" / "1")
    assert session.run("image_bytes", image_bytes=data)["classes"][:, 0].tolist() == [b"upright"] * 25
    session.close()
    with served.running(letters) as found:
        for address in (found.rest, found.grpc):
            with Client(f"{address}/letters") as client:
                assert [answer.labels[0] for answer in client.predict(data)] == ["upright"] * 25


def test_training_sees_them_upright(tmp_path, letters):
    """A folder of turned photos is measured as its upright copy."""
    for split, number in itertools.product(("train", "val"), range(8)):
        folder = tmp_path / split / LABELS[number]
        folder.mkdir(parents=True)
        for orientation in ORIENTATIONS:
            image = turned(letter(6000 + number), number + 1)
            (folder / f"{orientation}.jpg").write_bytes(stored(image, orientation, "JPEG"))
    report = cnn_app.evaluate(letters, str(tmp_path), "val").report
    assert report.n == 64 and report.top1 == 1
