"""Images in formats that a SavedModel's graph does not decode: TIFF, AVIF, and HEIC by the extra `heif`.

They become PNG of 8 bits where files are read: upright, the first image of several, the higher byte of 16 bits.
"""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from threading import Lock
from typing import BinaryIO

from cnn_app.errors import DataError, first_line
from cnn_app.inputs.files import CONVERTED, FORMATS, check_size

SUFFIXES = {suffix: kind for kind, suffixes in CONVERTED.items() for suffix in suffixes}
BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"
)  # ISO/IEC 23008-12, annex B; AV1 Image File Format, section 6
ONE_AT_A_TIME = Lock()  # of large images, and of Pillow's warnings


def kind_of(data: bytes) -> str | None:
    """By its first 12 bytes; None for what needs no conversion."""
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "TIFF"
    return BRANDS.get(data[8:12]) if data[4:8] == b"ftyp" else None


def as_png(data: bytes) -> bytes:
    """`data` itself where nothing is to be converted. Raises DataError."""
    kind = kind_of(data)
    if kind is None:
        return data
    return _safely(kind, lambda: _png(_opened(kind, io.BytesIO(data))))


def check(kind: str, stream: BinaryIO) -> None:
    """Raise DataError with why an image of a kind that is converted should not be, by its header."""
    _safely(kind, lambda: _opened(kind, stream))


def told(names: Iterable[str]) -> str:
    """Of the names of records; empty if none of them is converted."""
    found = Counter(SUFFIXES.get(name[name.rfind(".") :].lower(), "") for name in names)
    del found[""]
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(found.items()))
    taken = " and".join(", ".join(FORMATS).rsplit(",", 1))
    return f"converted as they are read: {counts}; a server takes {taken} alone" if found else ""


def _safely(kind: str, read: Callable):
    """What `read` gives; whatever it raises is a DataError."""
    with ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metadata that are damaged
        try:
            return read()
        except DataError:
            raise
        except Exception as error:  # of many kinds, by many libraries
            raise DataError(f"it is a damaged {kind}: {first_line(error)}") from error


def _opened(kind: str, stream: BinaryIO):
    """Not yet decoded."""
    if kind == "TIFF":
        from PIL.TiffImagePlugin import TiffImageFile as Opened
    elif kind == "AVIF":
        from PIL.AvifImagePlugin import AvifImageFile as Opened
    else:
        try:
            from pillow_heif import HeifImageFile as Opened
        except ImportError:
            raise DataError("it is HEIC, which needs: pip install 'cnn-app[heif]'") from None
    image = Opened(stream)
    check_size(*image.size)
    if image.mode in ("F", "I"):
        raise DataError(f"it is a {kind} of numbers that are no 8 or 16 bits; save it as PNG")
    return image


def _png(image) -> bytes:
    from PIL import ImageOps

    image.load()
    if image.mode.startswith("I;16"):
        import numpy as np
        from PIL import Image

        exif = image.getexif()
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image.info["exif"] = exif.tobytes()
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "P":
        upright = upright.convert("RGBA" if "transparency" in upright.info else "RGB")
    elif upright.mode not in ("L", "LA", "RGB", "RGBA"):
        upright = upright.convert("L" if upright.mode == "1" else "RGB")
    out = io.BytesIO()
    upright.save(out, "PNG", compress_level=1, exif=b"")
    return out.getvalue()
