"""How many frames a GIF has, from its blocks (GIF89a, sections 17 to 25), without decoding one."""

from __future__ import annotations

from cnn_app.errors import DataError

IMAGE, EXTENSION, END = 0x2C, 0x21, 0x3B
MAX_PARTS = 4_000_000  # that data fall into, of up to 255 bytes


def extent(data: bytes, most: int) -> tuple[int, int, int]:
    """Frames, width and height. Raises DataError for what is cut off, or has more than `most` frames."""
    try:
        return _extent(data, most)
    except IndexError:
        raise DataError("it is cut off") from None


def _extent(data: bytes, most: int) -> tuple[int, int, int]:
    width, height = (int.from_bytes(data[place : place + 2], "little") for place in (6, 8))
    place, frames, left = 13 + _colours(data[10]), 0, MAX_PARTS
    while (kind := data[place]) != END:
        if kind == IMAGE:
            frames += 1
            x, y, wide, high = (int.from_bytes(data[place + i : place + i + 2], "little") for i in (1, 3, 5, 7))
            if x + wide > width or y + high > height:
                raise DataError(f"its frame {frames} reaches out of the image")
            place += 10 + _colours(data[place + 9]) + 1
        elif kind == EXTENSION:
            place += 2
        else:
            raise DataError("it has a block that is none")
        if frames > most:
            raise DataError(f"it has more than {most:,} frames")
        while size := data[place]:
            place, left = place + 1 + size, left - 1
            if left < 0:
                raise DataError("its data fall into too many parts")
        place += 1
        if place >= len(data) and frames:  # many writers leave the end out
            break
    if not frames:
        raise DataError("it has no frame")
    return frames, width, height


def _colours(flags: int) -> int:
    """Bytes of a table of colours."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
