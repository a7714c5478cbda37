import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cnn_app.errors import DataError
from cnn_app.inputs import headers
from cnn_app.inputs import pixels as images
from cnn_app.inputs.image import Image as Input

COLOUR = (200, 100, 50)


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def plain(mode="RGB", colour=COLOUR, size=(8, 6)):
    """An image of one colour, 8 wide and 6 high."""
    return Image.new(mode, size, colour)


def noise(height, width, channels):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def decode(data):
    return images.decode(tf.constant(data)).numpy()


def to_size(pixels, shape, **resizing):
    return images.to_size(tf.constant(pixels), Input(shape, **resizing)).numpy()


def palette_png():
    image = plain("P", 1)
    image.putpalette([0, 0, 0, *COLOUR])
    return encoded(image, "PNG", transparency=bytes([255, 128]))


def bmp_of_32_bits(compression, *masks):
    """Blue, green, red and a fourth byte, which is alpha only where the header has a mask for it."""
    masks = struct.pack(f"<{len(masks)}I", *masks)
    info = struct.pack("<IiiHHIIiiII", 40 + len(masks), 8, 6, 1, 32, compression, 192, 0, 0, 0, 0) + masks
    return (
        struct.pack("<2sIHHI", b"BM", 14 + len(info) + 192, 0, 0, 14 + len(info))
        + info
        + bytes([50, 100, 200, 128]) * 48
    )


def animation(kind="GIF"):
    return encoded(plain(), kind, save_all=True, append_images=[plain(colour=(0, 0, 255))])


@pytest.mark.parametrize(
    "data, colour",
    [
        (encoded(plain(), "JPEG", quality=95), COLOUR),
        (encoded(plain(), "JPEG", quality=95, progressive=True), COLOUR),
        (encoded(plain().convert("CMYK"), "JPEG", quality=95), COLOUR),
        (encoded(plain("L", 77), "JPEG", quality=95), (77,)),
        (encoded(plain(), "MPO", save_all=True, append_images=[plain(colour=(0, 0, 0))], quality=95), COLOUR),
        (encoded(plain(), "PNG"), COLOUR),
        (encoded(plain("L", 77), "PNG"), (77,)),
        (encoded(plain("1", 1), "PNG"), (255,)),
        (encoded(plain().convert("P", palette=Image.Palette.ADAPTIVE), "PNG"), COLOUR),
        (encoded(Image.fromarray(np.full((6, 8), 0x1234, np.uint16)), "PNG"), (0x12,)),
        (encoded(plain(), "BMP"), COLOUR),
        (encoded(plain("L", 77), "BMP"), (77,)),
        (encoded(plain(), "GIF"), COLOUR),
        (animation(), COLOUR),
        # transparent over white: colour * alpha + 255 * (1 - alpha), alpha = 128 / 255
        (encoded(plain("RGBA", (0, 0, 0, 128)), "PNG"), (127, 127, 127)),
        (encoded(plain("RGBA", (*COLOUR, 128)), "PNG"), (227, 177, 152)),
        (encoded(plain("RGBA", (*COLOUR, 255)), "PNG"), COLOUR),
        (encoded(plain("RGBA", (*COLOUR, 0)), "PNG"), (255, 255, 255)),
        (encoded(plain("LA", (0, 128)), "PNG"), (127,)),
        (encoded(plain("LA", (77, 0)), "PNG"), (255,)),
        (bmp_of_32_bits(3, 0xFF0000, 0xFF00, 0xFF, 0xFF000000), (227, 177, 152)),
        (palette_png(), (227, 177, 152)),
        (encoded(plain(), "WEBP", lossless=True), COLOUR),
        (encoded(plain("L", 77), "WEBP", lossless=True), (77, 77, 77)),
        (encoded(plain("RGBA", (*COLOUR, 128)), "WEBP", lossless=True), (227, 177, 152)),
    ],
    ids="jpeg progressive cmyk grey-jpeg phone png grey-png bit-png palette-png 16-bit-png bmp grey-bmp gif animated "
    "black-half half opaque clear grey-half grey-clear bmp-half palette-half webp grey-webp "
    "webp-half".split(),
)
def test_decode(data, colour):
    assert headers.problem(data) is None
    pixels = decode(data)
    assert pixels.dtype == np.uint8 and pixels.shape == (6, 8, len(colour))
    np.testing.assert_allclose(pixels.astype(int), np.broadcast_to(colour, pixels.shape), atol=1)
    grey = colour[0] if len(colour) == 1 else np.dot(colour, (0.299, 0.587, 0.114))
    for image, expected in (((5, 7, 3), colour), ((5, 7, 1), grey)):
        sized = images.load(data, "x", Input(image))
        assert sized.dtype == np.uint8 and sized.shape == image
        np.testing.assert_allclose(sized, np.broadcast_to(expected, image), atol=1.5)


@pytest.mark.parametrize("kind, channels", [("PNG", 3), ("PNG", 1), ("BMP", 3), ("BMP", 1)])
def test_a_image_at_size_is_left_alone(kind, channels):
    pixels = noise(33, 47, channels)
    data = encoded(Image.fromarray(pixels.squeeze()), kind)
    np.testing.assert_array_equal(images.load(data, "x", Input((33, 47, channels))), pixels)


@pytest.mark.parametrize("image", [(33, 47, 1), (33, 47, 3)])
def test_grey_and_colour(image):
    colour, grey = noise(33, 47, 3), noise(33, 47, 1)
    luma = colour @ np.array([0.299, 0.587, 0.114])
    if image[2] == 1:
        np.testing.assert_allclose(to_size(colour, image)[..., 0], luma, atol=0.501)
    else:
        np.testing.assert_array_equal(to_size(grey, image), np.repeat(grey, 3, axis=2))


@pytest.mark.parametrize("size", [(32, 20), (200, 301), (4, 4), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_constant_colour_stays(size, channels):
    for value in (0, 1, 77, 128, 254, 255):
        sized = to_size(np.full((13, 97, channels), value, np.uint8), (*size, channels))
        assert sized.shape == (*size, channels) and np.all(sized == value)


@pytest.mark.parametrize("side", [64, 72])  # 72: the middle of each 9x9 is one pixel, black or white
@pytest.mark.parametrize("channels", [1, 3])
def test_shrinking_is_antialiased(side, channels):
    checkers = (np.indices((side, side)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None]
    np.testing.assert_allclose(to_size(checkers, (8, 8, channels)).astype(int), 127.5, atol=1.5)


def test_resizing_is_bilinear_between_pixel_centres():
    pixels = np.array([[0, 100], [0, 100]], np.uint8)[..., None]
    np.testing.assert_array_equal(to_size(pixels, (2, 4, 1))[0, :, 0], [0, 25, 75, 100])


def test_the_image_is_stretched_not_cropped():
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 40:] = 255
    sized = to_size(pixels, (16, 16, 3))
    assert np.all(sized[:, :7] == 0) and np.all(sized[:, 9:] == 255)


@pytest.mark.parametrize("channels", [2, 4])
def test_other_channels_are_refused(channels):
    with pytest.raises(DataError, match=f"1 or 3 channels, the network wants {channels}"):
        to_size(noise(8, 8, 3), (8, 8, channels))


def test_eager_and_traced_agree():
    data, image = palette_png(), Input((16, 12, 3))
    traced = tf.function(lambda bytes_: images.sized(bytes_, image))(tf.constant(data))
    np.testing.assert_array_equal(traced, images.load(data, "x", image))


def photo(kind):
    return encoded(Image.fromarray(noise(40, 40, 3)), kind)


def png_that_claims(width, height):
    """A PNG whose header promises more pixels than follow: reading its size succeeds, decoding it does not."""
    data = encoded(plain(), "PNG")
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "the file is empty"),
        (b"this is no image", "it is no JPEG, PNG, WebP, BMP or GIF"),
        (b"\xff\xd8\xff", "it is no JPEG, PNG, WebP, BMP or GIF"),
        (b"\x89PNG\r\n\x1a\n", "it is no JPEG, PNG, WebP, BMP or GIF"),
        (b"GIF89a", "it is no JPEG, PNG, WebP, BMP or GIF"),
        (encoded(plain(), "TIFF"), "it is TIFF, which is read from files alone; send JPEG"),
        (b"RIFF\4\0\0\0WEBP", "it is no JPEG, PNG, WebP, BMP or GIF"),
        (animation("WEBP"), "it is an animated WebP"),
        *(
            (photo(kind)[: len(photo(kind)) // 2], "damaged or cut off")
            for kind in ("JPEG", "PNG", "BMP", "GIF", "WEBP")
        ),
        *((photo(kind)[:-12], "damaged or cut off") for kind in ("JPEG", "PNG", "BMP", "GIF", "WEBP")),
        (encoded(plain(size=(1, 1)), "PNG"), "it has 1x1 pixels; at least 4x4 are needed"),
        (encoded(plain(size=(3, 100)), "PNG"), "it has 3x100 pixels; at least 4x4 are needed"),
        (encoded(plain().convert("P"), "BMP"), "it is a BMP with a palette"),
        (encoded(plain("1", 1), "BMP"), "it is a BMP with a palette"),
        (bmp_of_32_bits(0), "unusual pixels; save it as PNG"),
    ],
    ids="empty text jpeg-magic png-magic gif-magic tiff webp-magic moving-webp half-jpeg half-png half-bmp half-gif "
    "half-webp end-jpeg end-png end-bmp end-gif end-webp 1x1 thin palette-bmp bit-bmp padded-bmp".split(),
)
def test_what_is_no_image_is_one_line_with_its_name(data, reason):
    with pytest.raises(DataError) as caught:
        images.load(data, "cats/one.jpg", Input((8, 8, 3)))
    message = str(caught.value)
    assert "cannot read cats/one.jpg: " in message and reason in message and "\n" not in message


@pytest.mark.parametrize("width, height", [(8001, 8000), (9500, 9500), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_a_huge_image_is_refused_before_it_is_decoded(monkeypatch, width, height):
    monkeypatch.setattr(images, "decode", lambda data: pytest.fail("decoded"))
    with pytest.raises(DataError, match="cannot read big.png: it has .*64,000,000"):
        images.load(png_that_claims(width, height), "big.png", Input((8, 8, 3)))


def test_the_largest_image_passes_the_header():
    assert headers.problem(png_that_claims(8000, 8000)) is None


def test_a_file_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(headers, "MAX_BYTES", 100)
    assert "larger than" in headers.problem(photo("PNG"))


def test_metadata_of_megabytes_before_the_pixels():
    segment = b"\xff\xe1" + (65535).to_bytes(2, "big") + bytes(65533)
    data = photo("JPEG")
    long = data[:2] + segment * 32 + data[2:]
    assert headers.problem(io.BytesIO(long)) is None
    np.testing.assert_array_equal(images.load(long, "x", Input((40, 40, 3))), decode(data))


def blank(mode, kind, **options):
    return encoded(Image.new(mode, (40, 56)), kind, **options)


def in_three_scans():
    """A JPEG whose first scan has one component of three, as its header says."""
    data = blank("RGB", "JPEG")
    place = data.index(b"\xff\xda") + 4
    assert data[place] == 3
    return data[:place] + b"\1" + data[place + 1 :]


@pytest.mark.parametrize(("data", "each"), [
    (blank("RGB", "PNG"), 3), (blank("L", "PNG"), 4), (blank("RGBA", "PNG"), 10), (blank("LA", "PNG"), 10),
    (blank("P", "PNG", transparency=0), 10), (blank("RGB", "BMP"), 3), (blank("P", "GIF"), 3),
    (blank("RGB", "JPEG"), 3), (blank("CMYK", "JPEG"), 3), (blank("RGB", "JPEG", progressive=True), 9),
    (blank("L", "JPEG", progressive=True), 6), (in_three_scans(), 9), (blank("RGB", "WEBP"), 3),
    (blank("RGB", "WEBP", lossless=True), 7), (blank("RGBA", "WEBP"), 14), (blank("RGBA", "WEBP", lossless=True), 14),
], ids=range(16))  # fmt: skip
def test_a_header_tells_what_decoding_takes(data, each):
    """Of a JPEG in several scans all coefficients are held, two bytes for each channel of a pixel."""
    assert headers.read(data).decoded_bytes == 40 * 56 * each


def test_a_header_does_not_go_on_for_ever():
    """Pillow would look at each of its parts."""
    data = photo("JPEG")
    for count, reason in ((400, None), (100_000, "its header has too many parts")):
        assert headers.problem(data[:2] + b"\xff\xe1\0\2" * count + data[2:]) == reason


def test_alpha_is_laid_over_white_in_strips_as_at_once(monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 4), np.uint8)
    colour, alpha = pixels[..., :3].astype(float), pixels[..., 3:] / 255
    for strip in (1, 7, 1199, 1200, 5000):
        monkeypatch.setattr(images, "STRIP", strip)
        found = images._over_white(tf.constant(pixels))
        np.testing.assert_array_equal(found, np.round(colour * alpha + 255 * (1 - alpha)))


@pytest.mark.parametrize("options", [{}, {"quality": 100}, {"lossless": True}])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp_is_decoded_as_by_pillow(mode, options):
    image = Image.fromarray(noise(33, 47, len(mode))).convert(mode)
    data = encoded(image, "WEBP", **options)
    found = headers.read(data)
    assert (found.format, found.width, found.height) == ("WEBP", 47, 33)
    with Image.open(io.BytesIO(data)) as theirs:
        np.testing.assert_array_equal(tf.io.decode_image(data, expand_animations=False), np.asarray(theirs))


def test_a_moving_webp_does_not_reach_the_decoder_that_it_would_break():
    with pytest.raises(tf.errors.InvalidArgumentError, match="Input is empty"):
        images.decode(tf.constant(animation("WEBP")))


@pytest.mark.parametrize("transform", [0, 2], ids=["cmyk", "ycck"])
def test_four_colours_are_seen_as_pillow_sees_them(transform):
    """Inverted, as Adobe writes them; by its marker the first three are luminance and chrominance."""
    inks = np.asarray(Image.fromarray(noise(6, 8, 3)).resize((80, 60), Image.BICUBIC).convert("CMYK"))
    if transform == 2:
        other = np.asarray(Image.fromarray(255 - inks[..., :3]).convert("YCbCr"))
        inks = np.concatenate([255 - other, inks[..., 3:]], -1)
    data = bytearray(encoded(Image.fromarray(inks, "CMYK"), "JPEG", quality=98, subsampling=0))
    data[data.find(b"Adobe") + 11] = transform
    theirs = Image.open(io.BytesIO(data)).convert("RGB").resize((40, 30), Image.BILINEAR)
    ours = images.load(bytes(data), "x", Input((30, 40, 3))).astype(int)
    assert np.abs(ours - np.asarray(theirs)).max() <= 1
