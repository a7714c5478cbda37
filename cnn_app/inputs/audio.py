"""Sounds: waves of one channel, float32 (N, samples) in [-1, 1] at one rate, or WAV."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

import numpy as np

from cnn_app import names
from cnn_app.augmentations import OF_WAVES
from cnn_app.data.folder import split_folders
from cnn_app.errors import DataError
from cnn_app.inputs import files, wave_files
from cnn_app.inputs.base import Base
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    from cnn_app.data.dataset import Column
    from cnn_app.tensors import Arrays


@dataclass(frozen=True)
class Audio(Base):
    """Waves of `samples` at `rate` samples a second; a longer one is cut off, a shorter one has zeros behind it."""

    rate: int
    samples: int

    kind: ClassVar = "audio"
    plural: ClassVar = "waves"
    unit: ClassVar = "samples"
    encoded: ClassVar = names.AUDIO_BYTES
    formats: ClassVar = "WAV"
    suffixes: ClassVar = wave_files.SUFFIXES
    augmentations: ClassVar = OF_WAVES
    familiar: ClassVar = False  # it was not tried on the features of sounds

    @classmethod
    def of_row(cls, row, known: Mapping) -> Audio:
        return cls(row.rate, row.samples)

    @classmethod
    def of_facts(cls, facts: Mapping) -> Audio:
        rate, samples = facts["rate"], facts["samples"]
        if type(rate) is not int or type(samples) is not int or min(rate, samples) < 1:
            raise ValueError(f"waves of {samples} samples, {rate} of them a second, have no length")
        return cls(rate, samples)

    @classmethod
    def of_specs(cls, specs: dict[str, Spec]) -> None:
        """Numbers do not say at which rate they follow each other."""

    def facts(self) -> dict:
        return {"kind": self.kind, "rate": self.rate, "samples": self.samples}

    def brief(self) -> dict:
        return self.facts() | {"note": f"{self.samples / self.rate:g} seconds at {self.rate:,} samples a second."}

    def columns(self) -> dict:
        return {"rate": self.rate, "samples": self.samples}

    def specs(self) -> dict[str, Spec]:
        return {"audio": Spec("float32", (None, self.samples))}

    def places(self, root: Path) -> dict[str, Path]:
        return split_folders(root)

    def by_class(self, place: Path, root: Path, encoding: str) -> dict[str, tuple[list[str], list]]:
        return wave_files.by_class(place, root)

    def raw(self, records: list) -> dict[str, Column]:
        """Of paths: what the files hold."""
        return {"audio": wave_files.column(records)}

    @staticmethod
    def records(places: Iterable[str], stdin: BinaryIO) -> Iterator[tuple[str, bytes | DataError]]:
        """Files, all waves under folders, and `-` for the bytes on `stdin`."""
        for name in files.names(places, wave_files.SUFFIXES, "waves"):
            try:
                yield name, stdin.read(files.MAX_BYTES + 1) if name == "-" else files.content(Path(name))
            except DataError as error:
                yield name, error

    def converters(self) -> dict[str, tuple[Spec, Callable]]:
        import tensorflow as tf

        from cnn_app.inputs import waves

        def sized(raw):
            if raw.dtype == tf.string:
                raw = tf.numpy_function(self._wave, [raw], tf.float32)
            return waves.fitted(tf.reshape(raw, (-1,)), self.samples)

        return {"audio": (Spec("float32", (self.samples,)), sized)}

    def decoder(self) -> Callable[[bytes], Arrays]:
        return lambda data: {"audio": self._windows(self._wave(data))[0]}

    def encode(self, record: Arrays) -> bytes:
        return wave_files.encoded(record["audio"], self.rate)

    def load(self, data: bytes, name: str) -> Arrays:
        return {key: array[0] for key, array in self.parts(data, name).items()}

    def parts(self, data: bytes, name: str) -> Arrays:
        """All of a wave that is longer: windows side by side, the last of which ends with it."""
        try:
            return {"audio": self._windows(self._wave(data))}
        except DataError as error:
            raise DataError(f"cannot read {name}: {error}") from error

    def _wave(self, data: bytes) -> np.ndarray:
        return wave_files.at_rate(*wave_files.mono(data), self.rate)

    def _windows(self, wave: np.ndarray) -> np.ndarray:
        """(windows, samples)."""
        over = len(wave) - self.samples
        if over <= 0:
            return np.pad(wave, (0, -over))[None]
        return np.stack([wave[start : start + self.samples] for start in (*range(0, over, self.samples), over)])

    @staticmethod
    def decoded_bytes(data: bytes, most: int) -> int:
        return wave_files.header(data).decoded_bytes

    @staticmethod
    def example() -> bytes:
        return wave_files.encoded(np.zeros(80, np.float32), 8000)

    def augmented(self, inputs: dict, seed: tuple, names: tuple[str, ...]) -> dict:
        from cnn_app.inputs import waves
        from cnn_app.inputs.augment import stacked

        return {"audio": waves.augmented(inputs["audio"], stacked(seed), names)}

    def signatures(self) -> Iterator[tuple[str, dict[str, Spec], Callable]]:
        import tensorflow as tf

        from cnn_app.inputs import waves

        def decoded(audio_bytes):
            return tf.map_fn(lambda data: waves.decoded(data, self.rate, self.samples), audio_bytes,
                             fn_output_signature=tf.TensorSpec((self.samples,), tf.float32))  # fmt: skip

        yield names.DEFAULT, self.specs(), lambda audio: {"audio": audio}
        yield self.encoded, {self.encoded: Spec("string", (None,))}, lambda data: {"audio": decoded(data)}

    def tensor_metadata(self, schema):
        """TFLite's TensorMetadata."""
        audio, content = schema.TensorMetadataT(), schema.ContentT()
        audio.name, audio.dimensionNames = "audio", None
        audio.description = f"A wave in [-1, 1]: {self.brief()['note']}"
        content.contentPropertiesType = schema.ContentProperties.AudioProperties
        content.contentProperties = schema.AudioPropertiesT()
        content.contentProperties.sampleRate, content.contentProperties.channels = self.rate, 1
        audio.content = content
        return audio
