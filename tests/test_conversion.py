"""Formats that the graph does not decode: as their PNG, wherever files are read, and refused by name elsewhere."""

import io

import numpy as np
import photos
import pytest
from click.testing import CliRunner
from photos import encoded, exif
from PIL import Image

import cnn_app
from cnn_app.cli.main import cli
from cnn_app.data import pipeline
from cnn_app.errors import DataError
from cnn_app.inputs import conversion, headers
from cnn_app.inputs.image import Image as Input
from cnn_app.recipe import Data
from cnn_app.tasks.classification import Classification

PHOTO = photos.letter(1)
NOISE = np.random.default_rng(0).integers(0, 2**16, (20, 30), np.uint16)


def sixteen(kind):
    return encoded(Image.fromarray(NOISE), kind)


def heic(image):
    pillow_heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    pillow_heif.from_pillow(image).save(out, quality=-1)
    return out.getvalue()


def loaded(data):
    return Input((40, 50, 3)).load(data, "x")["image"]


@pytest.mark.parametrize(
    "image, options",
    [
        (PHOTO, {}),
        (PHOTO, {"compression": "tiff_lzw"}),
        (PHOTO.convert("L"), {}),
        (PHOTO.convert("1"), {}),
        (PHOTO.convert("P"), {}),
        (PHOTO.convert("RGBA"), {}),
        (PHOTO, {"save_all": True, "append_images": [photos.letter(2)]}),
    ],
    ids="colour lzw grey bits palette alpha pages".split(),
)
def test_tiff_is_its_png(image, options):
    wanted = image.convert("L" if image.mode == "1" else "RGB" if image.mode == "P" else image.mode)
    np.testing.assert_array_equal(loaded(encoded(image, "TIFF", **options)), loaded(encoded(wanted, "PNG")))


def test_sixteen_bits_are_their_higher_byte():
    """In the graph, which decodes PNG itself, as in what is converted."""
    high = encoded(Image.fromarray((NOISE >> 8).astype(np.uint8)), "PNG")
    for data in (sixteen("TIFF"), sixteen("PNG")):
        np.testing.assert_array_equal(loaded(data), loaded(high))


@pytest.mark.parametrize("orientation", photos.ORIENTATIONS)
def test_a_tiff_that_lies_otherwise(orientation):
    turned = photos.turned(PHOTO, photos.BACK.get(orientation, orientation))
    data = encoded(turned, "TIFF", tiffinfo={photos.TAG: orientation})
    np.testing.assert_array_equal(loaded(data), loaded(encoded(PHOTO, "PNG")))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_avif_and_heic(orientation):
    turned = photos.turned(PHOTO, photos.BACK.get(orientation, orientation))
    avif = encoded(turned, "AVIF", quality=100, exif=exif(orientation))
    for data in (avif, heic(PHOTO)):
        difference = np.abs(loaded(data).astype(int) - loaded(encoded(PHOTO, "PNG")))
        assert difference.mean() < 3


def test_what_is_read_elsewhere_is_left_alone():
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF"):
        data = encoded(PHOTO, kind)
        assert conversion.as_png(data) is data
    assert conversion.as_png(b"") == b"" and conversion.kind_of(b"....ftypisom") is None


FLOATS = encoded(Image.fromarray(NOISE.astype(np.float32)), "TIFF")
BAD = {
    "no-bytes.tif": (FLOATS, "it is a TIFF of numbers that are no 8 or 16 bits; save it as PNG"),
    "cut.tif": (encoded(PHOTO, "TIFF")[:400], "it is a damaged TIFF: "),
    "head.tiff": (b"II*\0\x08\0\0\0", "it is a damaged TIFF: "),
    "cut.avif": (encoded(PHOTO, "AVIF")[:100], "it is a damaged AVIF: "),
    "large.tif": (encoded(Image.new("1", (9000, 9000)), "TIFF"), "it has 9000x9000 pixels; more than 64,000,000 are"),
    "small.tif": (encoded(Image.new("L", (3, 9)), "TIFF"), "3x9 pixels; at least 4x4 are needed"),
    "other.jpg": (encoded(PHOTO, "TIFF"), "it is TIFF, which its name must say: .tiff"),
}


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "val"):
        for label, number in (("cat", 0), ("dog", 1)):
            place = tmp_path / split / label
            place.mkdir(parents=True)
            (place / "a.tif").write_bytes(encoded(photos.letter(number), "TIFF"))
            (place / "b.png").write_bytes(encoded(photos.letter(number), "PNG"))
    return tmp_path


def prepared(folder, **options):
    task = Classification(input=Input((16, 16, 3)))
    data = Data(source=str(folder), **options)
    return pipeline.prepare(task.load(data), task.converters(), skip_bad=options.get("on_bad_image") == "skip")


@pytest.mark.slow
def test_a_folder_of_both(folder):
    train = prepared(folder).splits["train"]
    found = train.inputs["image"].array
    assert [name.rpartition(".")[2] for name in train.names] == ["tif", "png"] * 2
    np.testing.assert_array_equal(found[::2], found[1::2])
    result = CliRunner().invoke(cli, ["data", "check", str(folder), "--json"])
    assert '"TIFF": 4' in result.stdout and '"PNG": 4' in result.stdout
    out = folder.parent / "model"
    result = CliRunner().invoke(
        cli, ["train", "lenet5", "--data", str(folder), "--out", str(out), "--epochs", "1", "--augment", "none"]
    )
    assert result.exit_code == 0, result.output
    assert "converted as they are read: 4 TIFF; a server takes JPEG, PNG, WebP, BMP and GIF alone" in result.stderr
    files = [str(folder / "val" / "cat" / name) for name in ("a.tif", "b.png")]
    one, other = cnn_app.predict(out, files)
    assert one.answer == other.answer


@pytest.mark.parametrize("name", BAD)
def test_bad_ones_are_named(folder, name):
    data, reason = BAD[name]
    (folder / "train" / "cat" / name).write_bytes(data)
    with pytest.raises(DataError, match=f"cannot read train/cat/{name}: ") as error:
        prepared(folder).splits["train"]
    assert reason in str(error.value) and "\n" not in str(error.value)
    found = prepared(folder, on_bad_image="skip")
    assert len(found.splits["train"]) == 4 and len(found.skipped) == 1


def test_heic_without_its_library(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(DataError, match=r"it is HEIC, which needs: pip install 'cnn-app\[heif\]'"):
        conversion.as_png(b"\0\0\0\x18ftypheic" + bytes(12))


@pytest.mark.parametrize("kind", ["TIFF", "AVIF"])
def test_a_server_refuses_them_by_name(kind):
    with pytest.raises(DataError, match=f"it is {kind}, which is read from files alone; send JPEG, PNG, WebP, BMP"):
        headers.read(encoded(PHOTO, kind))
