"""Images that lie in their files as EXIF's orientations have them, and a network that tells how a letter lies."""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageOps

import cnn_app
from cnn_app import data
from cnn_app.recipe import Schedule

TAG = 0x0112
ORIENTATIONS = range(1, 9)
LABELS = ("upright", *(f"seen as {orientation}" for orientation in ORIENTATIONS[1:]))
KINDS = {"JPEG": {"quality": 98, "subsampling": 0}, "PNG": {}, "WEBP": {"lossless": True}}
SIZE = (60, 44)
BACK = {5: 5, 6: 8, 7: 7, 8: 6}  # the opposite of an orientation; the others are their own


def letter(seed, size=SIZE):
    """A dark F on light ground, which looks different in each orientation."""
    random = np.random.default_rng(seed)
    at = lambda share: share * np.array(size)  # noqa: E731
    image = PIL.Image.new("RGB", size, tuple(random.integers(170, 256, 3).tolist()))
    draw, colour = PIL.ImageDraw.Draw(image), tuple(random.integers(0, 90, 3).tolist())
    left, top = at(random.uniform(0.15, 0.3, 2))
    right, bottom = at(random.uniform(0.7, 0.85, 2))
    thick = size[0] * 0.1
    draw.rectangle((left, top, left + thick, bottom), fill=colour)
    draw.rectangle((left, top, right, top + thick), fill=colour)
    middle = (top + bottom) / 2 - thick / 2
    draw.rectangle((left, middle, (left + right) / 2, middle + thick), fill=colour)
    return image


def turned(image, orientation):
    """By Pillow, as one who heeds `orientation` shows it."""
    exif = PIL.Image.Exif()
    exif[TAG] = orientation
    copy = image.copy()
    copy.info["exif"] = exif.tobytes()
    return PIL.Image.fromarray(np.asarray(PIL.ImageOps.exif_transpose(reopened(copy, "PNG", exif=exif))))


def reopened(image, kind, **options):
    return PIL.Image.open(io.BytesIO(encoded(image, kind, **options)))


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def exif(orientation, *, big=False, before=1, kind=3, count=1, tag=TAG, directory=None):
    """TIFF with one directory: entries that are none of ours, then the orientation."""
    order = ">" if big else "<"
    entries = [struct.pack(f"{order}HHIHH", 0x0100 + i, 3, 1, 99, 0) for i in range(before)]
    entries.append(struct.pack(f"{order}HHIHH", tag, kind, count, orientation, 0))
    start = struct.pack(f"{order}2sHI", b"MM" if big else b"II", 42, 8 if directory is None else directory)
    return start + struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)


def stored(image, orientation, kind, big=False):
    """A file of `image` that lies as `orientation` says; whoever heeds that sees `image`."""
    return with_exif(
        encoded(turned(image, BACK.get(orientation, orientation)), kind, **KINDS[kind]), exif(orientation, big=big)
    )


def with_exif(data, tiff):
    """`data`, an image without EXIF, with `tiff` where it belongs."""
    if data[:2] == b"\xff\xd8":
        end = 4 + int.from_bytes(data[4:6], "big") if data[2:4] == b"\xff\xe0" else 2
        body = b"Exif\0\0" + tiff
        return data[:end] + b"\xff\xe1" + struct.pack(">H", 2 + len(body)) + body + data[end:]
    if data[:4] == b"\x89PNG":
        return data[:33] + png_chunk(b"eXIf", tiff) + data[33:]
    kind, width, height = data[12:16], *PIL.Image.open(io.BytesIO(data)).size
    sides = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
    extended = riff(b"VP8X", bytes([8, 0, 0, 0]) + sides)
    body = b"WEBP" + extended + data[12:] + riff(b"EXIF", tiff)
    assert kind in (b"VP8 ", b"VP8L")
    return riff(b"RIFF", body)


def png_chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def riff(name, content):
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def letters():
    """Records of the letter in its eight orientations."""

    def part(first, count):
        images = [np.asarray(turned(letter(first + i), 1 + i % 8).resize((32, 32)).convert("L")) for i in range(count)]
        return np.stack(images)[..., None], np.arange(count) % 8

    parts = {"train": part(0, 640), "val": part(1000, 80), "test": part(2000, 80)}
    return data.arrays(parts, LABELS)


def network(place):
    """A model directory of a LeNet-5 that tells them apart, with all its files."""
    card = cnn_app.train("lenet5", letters(), place, schedule=Schedule(epochs=12, augment=()))
    assert card.metrics["test"]["top1"] > 0.98
    cnn_app.export(place, ("saved_model", "tflite-float32", "onnx"), letters())
    return place
