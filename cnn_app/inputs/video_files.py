"""MP4 by PyAV, the extra `video`: looked at by its packets, and decoded up to the last frame that is wanted."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from cnn_app.errors import DataError, first_line
from cnn_app.inputs.files import MAX_FRAMES

MAX_SIDE = 16_384  # pixels


class Video:
    """The first stream of pictures in an MP4."""

    def __init__(self, data: bytes):
        self.data = data
        with self._stream() as (container, stream):
            self.frames = 0
            for packet in container.demux(stream):
                self.frames += packet.size > 0
                if self.frames > MAX_FRAMES:
                    raise DataError(f"it has more than {MAX_FRAMES:,} frames")
            if not self.frames:
                raise DataError("it has no frame")
            self.width, self.height = stream.codec_context.width, stream.codec_context.height
        self.held = min(self.frames, 256)

    def read(self, places: Sequence[int]) -> np.ndarray:
        """A video that ends before its packets said repeats its last frame."""
        found: list[np.ndarray] = []
        last = None
        with self._stream() as (container, stream):
            for number, frame in enumerate(container.decode(stream)):
                if len(found) == len(places):
                    break
                if (frame.width, frame.height) != (self.width, self.height):
                    raise DataError("its frames have different sizes")
                last = frame
                while len(found) < len(places) and places[len(found)] == number:
                    found.append(_upright(frame))
            if last is None:
                raise DataError("it has no frame that can be decoded")
            found += [_upright(last)] * (len(places) - len(found))
        return np.stack(found)

    @contextmanager
    def _stream(self) -> Iterator[tuple]:
        """The container and its stream; whatever a decoder says of bytes from outside is a DataError."""
        try:
            import av
        except ImportError:
            raise DataError("it is MP4, which needs: pip install 'cnn-app[video]'") from None
        try:
            with av.open(io.BytesIO(self.data), format="mp4") as container:
                if not container.streams.video:
                    raise DataError("it has no pictures")
                stream = container.streams.video[0]
                if stream.codec_context is None:
                    raise DataError("its pictures are coded in an unknown way")
                if max(stream.codec_context.width, stream.codec_context.height) > MAX_SIDE:
                    raise DataError(f"it has a side of more than {MAX_SIDE:,} pixels")
                stream.codec_context.thread_count = 1  # batches are read in several threads already
                yield container, stream
        except (av.FFmpegError, ValueError, MemoryError) as error:
            raise DataError(f"it is a damaged MP4: {first_line(error)}") from error


def _upright(frame) -> np.ndarray:
    """uint8 (h, w, 3), turned as phones note it beside the frames."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))
