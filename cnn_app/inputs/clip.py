"""Clips: uint8 (N, frames, H, W, C) in [0, 255], or folders of images, GIF and MP4."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

import numpy as np

from cnn_app import names
from cnn_app.augmentations import CLIPS, OF_CLIPS, RESIZED_CROP, RUN
from cnn_app.data.folder import split_folders
from cnn_app.errors import DataError
from cnn_app.inputs import clip_files, clip_folders, clip_places
from cnn_app.inputs.frame import Frame
from cnn_app.inputs.image import Image
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    from cnn_app.data.dataset import Column
    from cnn_app.data.pipeline import Samplers
    from cnn_app.tensors import Arrays

SHOWN, GAP = 4, 2  # frames of a picture, and pixels between them


@dataclass(frozen=True)
class Clip(Frame):
    """`frames` of a video, every `step`-th, each brought to `shape` as an image is.

    runs: parts of a video that are read one behind the other, for views of it.
    """

    frames: int = 16
    step: int = 1
    runs: int = 1

    kind: ClassVar = "clip"
    plural: ClassVar = "clips"
    encoded: ClassVar = names.CLIP_BYTES
    formats: ClassVar = clip_files.KINDS
    suffixes: ClassVar = clip_files.SUFFIXES
    augmentations: ClassVar = ("crop", "rotate", RESIZED_CROP, "jitter", *OF_CLIPS)
    usual: ClassVar = (RUN,)
    views: ClassVar = (CLIPS,)
    pictured: ClassVar = True
    familiar: ClassVar = False  # it was not tried on the features of clips

    @classmethod
    def of_row(cls, row, known: Mapping) -> Clip:
        return cls(tuple(row.image), row.resize, row.crop_share, row.frames, row.step)

    @classmethod
    def of_facts(cls, facts: Mapping) -> Clip:
        image, (frames, step) = Image.of_facts(facts), (facts["frames"], facts.get("step", 1))
        if type(frames) is not int or type(step) is not int or min(frames, step) < 1:
            raise ValueError(f"a clip of {frames} frames with a step of {step} has no length")
        return cls(image.shape, image.resize, image.crop_share, frames, step)

    @classmethod
    def of_specs(cls, specs: dict[str, Spec]) -> Clip | None:
        """One tensor of bytes with one or three channels, and an axis more than images have."""
        spec = next(iter(specs.values()))
        if len(specs) != 1 or spec.dtype != "uint8" or len(spec.shape or ()) != 5 or spec.shape[4] not in (1, 3):
            return None
        return cls(tuple(spec.shape[2:]), frames=spec.shape[1]) if all(spec.shape[1:]) else None

    @property
    def image(self) -> Image:
        """What takes one frame."""
        return Image(self.shape, self.resize, self.crop_share)

    @property
    def reach(self) -> int:
        return clip_places.reach(self.frames, self.step)

    def facts(self) -> dict:
        return self.image.facts() | {"kind": self.kind, "frames": self.frames, "step": self.step}

    def brief(self) -> dict:
        every = "consecutive" if self.step == 1 else f"one of {self.step}"
        found = self.image.brief() | self.facts()
        return found | {"note": f"{self.frames} frames ({every}) of {found['note']}"}

    def columns(self) -> dict:
        return self.image.columns() | {"frames": self.frames, "step": self.step}

    def specs(self) -> dict[str, Spec]:
        return {"clip": Spec("uint8", (None, self.frames, *self.shape))}

    def places(self, root: Path) -> dict[str, Path]:
        return split_folders(root)

    def by_class(self, place: Path, root: Path, encoding: str) -> dict[str, tuple[list[str], list]]:
        return clip_folders.by_class(place, root)

    def raw(self, records: list) -> dict[str, Column]:
        """Of paths: what the files and folders hold."""
        return {"clip": clip_folders.column(records)}

    @staticmethod
    def records(places: Iterable[str], stdin: BinaryIO) -> Iterator[tuple[str, bytes | DataError]]:
        """Files, folders of frames, all clips under other folders, and `-` for the bytes on `stdin`."""
        return clip_folders.named(places, stdin)

    def converters(self) -> dict[str, tuple[Spec, Callable]]:
        import tensorflow as tf

        shares = np.linspace(0, 1, self.runs) if self.runs > 1 else np.array([0.5])
        seen = tf.autograph.experimental.do_not_convert(lambda raw: self._seen(raw, shares))  # it takes long to convert
        return {"clip": (Spec("uint8", (self.runs * self.frames, *self.shape)), seen)}

    def samplers(self, names: tuple[str, ...]) -> Samplers:
        """Anew in each epoch a run that begins anywhere."""
        import tensorflow as tf

        from cnn_app.inputs.draws import uniform

        @tf.autograph.experimental.do_not_convert
        def sample(raw, seed):
            return self._seen(raw, uniform(seed, RUN, (1,)))

        return {"clip": ((RUN,), sample)} if RUN in names else {}

    def _seen(self, raw, shares):
        """Runs of what was read, one behind the other, uint8 (runs * frames, H, W, C), in TensorFlow's graph."""
        import tensorflow as tf

        from cnn_app.inputs import clips

        shares = tf.cast(shares, tf.float32)
        if raw.dtype == tf.string:
            found = tf.ensure_shape(tf.numpy_function(self._read, [raw, shares], tf.uint8), (None, None, None, 3))
        else:
            found = tf.concat([clips.chosen(raw, self, share) for share in tf.unstack(shares)], 0)
        return tf.ensure_shape(self._sized(found), (shares.shape[0] * self.frames, *self.shape))

    def _read(self, data: bytes, shares: np.ndarray) -> np.ndarray:
        """The frames of these runs at their own size, (runs * frames, h, w, 3)."""
        reel = clip_files.opened(data)
        wanted = np.concatenate([clip_places.places(reel.frames, self.frames, self.step, share) for share in shares])
        once, back = np.unique(wanted, return_inverse=True)
        return reel.read(once.tolist())[back]

    @cached_property
    def _sized(self) -> Callable:
        """Traced once, and not for each epoch."""
        import tensorflow as tf

        from cnn_app.inputs import clips

        taken = tf.TensorSpec((None, None, None, None), tf.uint8)
        return tf.function(lambda frames: clips.sized(frames, self), input_signature=[taken], autograph=False)

    def decoder(self) -> Callable[[bytes], Arrays]:
        return lambda data: {"clip": self._sized(self._read(data, np.array([0.5]))).numpy()}

    def encode(self, record: Arrays) -> bytes:
        return clip_files.gif(record["clip"])

    def load(self, data: bytes, name: str) -> Arrays:
        return {"clip": self._loaded(data, name, lambda reel: np.array([0.5]))[0]}

    def parts(self, data: bytes, name: str) -> Arrays:
        """All of a longer video in runs side by side, or ten that lie evenly in it."""
        return {"clip": self._loaded(data, name, lambda reel: clip_places.shares(reel.frames, self.frames, self.step))}

    def _loaded(self, data: bytes, name: str, shares: Callable) -> np.ndarray:
        """(runs, frames, H, W, C)."""
        try:
            found = [self._sized(self._read(data, [share])).numpy() for share in shares(clip_files.opened(data))]
        except DataError as error:
            raise DataError(f"cannot read {name}: {error}") from error
        return np.stack(found)

    @staticmethod
    def decoded_bytes(data: bytes, most: int) -> int:
        """By its header; `most` are the pixels that a frame may have."""
        reel = clip_files.opened(data, most)
        return 3 * reel.width * reel.height * (reel.held + 4)  # and one frame in float beside them

    @staticmethod
    def example() -> bytes:
        """Two small frames, as GIF."""
        return clip_files.gif(np.zeros((2, 8, 8, 3), np.uint8))

    def picture(self, record: Arrays) -> np.ndarray:
        """Four frames in two lines, from the first to the last, with white between them."""
        clip = np.asarray(record["clip"])
        shown = clip[np.linspace(0, len(clip) - 1, SHOWN).round().astype(int)]
        shown = np.pad(shown, ((0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
        sheet = np.concatenate([np.concatenate(list(shown[i : i + 2]), 1) for i in (0, 2)])
        return sheet[:-GAP, :-GAP]

    def widened(self, names: tuple[str, ...]) -> Clip:
        return replace(self, runs=clip_places.MOST)

    def windows(self, inputs: Arrays, names: tuple[str, ...]) -> Iterator[Arrays]:
        return ({"clip": run} for run in np.split(inputs["clip"], clip_places.MOST, axis=1))

    def augmented(self, inputs: dict, seed: tuple, names: tuple[str, ...]) -> dict:
        from cnn_app.inputs import clips

        return {"clip": clips.augmented(inputs["clip"], seed, names)}

    def signatures(self) -> Iterator[tuple[str, dict[str, Spec], Callable]]:
        import tensorflow as tf

        from cnn_app.inputs import clips

        def decoded(clip_bytes):
            found = tf.map_fn(lambda data: clips.decoded(data, self), clip_bytes,
                              fn_output_signature=tf.TensorSpec((self.frames, *self.shape), tf.uint8))  # fmt: skip
            return {"clip": tf.cast(found, tf.float32)}

        pixels = Spec("float32", (None, self.frames, *self.shape))
        yield names.DEFAULT, self.specs(), lambda clip: {"clip": tf.cast(clip, tf.float32)}
        yield names.FLOAT_PIXELS, {"clip": pixels}, lambda clip: {"clip": clip}
        yield self.encoded, {self.encoded: Spec("string", (None,))}, decoded

    def calibration(self, arrays: Arrays) -> Arrays:
        """As that of images, of the first frame of the first clip."""
        clips = arrays["clip"].astype("float32")
        clips[0, 0, 0, 0], clips[0, 0, 0, -1] = 0, 255
        return {"clip": clips}

    def tensor_metadata(self, schema):
        """TFLite's TensorMetadata: that of an image, several behind each other."""
        clip = self.image.tensor_metadata(schema)
        clip.name, clip.description = "clip", f"{self.brief()['note']} {clip.description}"
        return clip
