"""What a network takes, one file each: how it is read, decoded, checked, augmented, calibrated and deployed.

An input is a module here with a frozen dataclass of the module's name in capitals, such as `Image`; see `Input` for
what the chain asks of it. To add one: write the module, add its name to INPUTS. A value of it holds all that is needed
to prepare a record for one network: an image's size, a text's vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Protocol

from cnn_app.errors import ArtifactError, DataError, unknown
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    import keras
    import numpy as np

    from cnn_app.data.dataset import Column, Split
    from cnn_app.data.pipeline import Samplers
    from cnn_app.tensors import Arrays

INPUTS = ("image", "text", "audio", "words", "observation", "clip")


class Input(Protocol):
    kind: ClassVar[str]  # its module
    plural: ClassVar[str]  # of its records, in messages
    unit: ClassVar[str]  # of the sides of a record, where they need one
    encoded: ClassVar[str]  # the signature, and its one tensor, that takes records as clients have them
    formats: ClassVar[str]  # that an encoded record may have, for people
    suffixes: ClassVar[tuple[str, ...]]  # of files that are such records
    augmentations: ClassVar[tuple[str, ...]]  # that it knows; others are an error
    usual: ClassVar[tuple[str, ...]]  # augmentations of its own, where nothing is said
    views: ClassVar[tuple[str, ...]]  # that answers can be averaged over
    pictured: ClassVar[bool]  # whether a record has a `picture`
    familiar: ClassVar[bool]  # whether features tell that a record is unlike others

    # --- as a value
    def facts(self) -> dict: ...  # JSON that `of_facts` makes an equal value of
    def brief(self) -> dict: ...  # JSON for people, with a `note` for those who read: `facts` without what is long
    def columns(self) -> dict: ...  # of a network's row, which follow from it
    def specs(self) -> dict[str, Spec]: ...  # of the tensors that a deployed network takes
    def fitted(self, split: Split) -> Input: ...  # with what it learns from the training split

    # --- from where they lie
    def places(self, root: Path) -> dict[str, Path]: ...  # split -> where its classes lie
    def by_class(
        self, place: Path, root: Path, encoding: str
    ) -> dict[str, tuple[list[str], list]]: ...  # names, records
    def raw(self, records: list) -> dict[str, Column]: ...  # of such records, for `Split.inputs`
    @staticmethod
    def records(places: Iterable[str], stdin: BinaryIO) -> Iterator[tuple[str, bytes | DataError]]: ...  # by name

    # --- one record
    def converters(self) -> dict[str, tuple[Spec, Callable]]: ...  # raw tensor -> the deployed one, inside tf.data
    def decoder(self) -> Callable[[bytes], Arrays]: ...  # an encoded record, without a batch axis; DataError
    def encode(self, record: Arrays) -> bytes: ...  # what `decoder` makes `record` of
    def load(self, data: bytes, name: str) -> Arrays: ...  # as `decoder`, for a record from outside: checked first
    def parts(self, data: bytes, name: str) -> Arrays: ...  # likewise, all of one that is too long, with a batch axis

    @staticmethod
    def decoded_bytes(data: bytes, most: int) -> int: ...  # memory to decode a record; DataError where it should not be
    @staticmethod
    def example() -> bytes: ...  # a small encoded record

    # --- of records as the network takes them
    def picture(self, record: Arrays) -> np.ndarray | None: ...  # uint8 (h, w, 1 or 3), for people; only if `pictured`
    def widened(self, names: tuple[str, ...]) -> Input: ...  # what is read for these views; only if there are `views`
    def windows(self, inputs: Arrays, names: tuple[str, ...]) -> Iterator[Arrays]: ...  # each view of what it read

    # --- training and export
    def set_weights(self, model: keras.Model, path: str) -> bool: ...  # whether these are weights of the input's own
    @property
    def resources(self) -> list: ...  # that `signatures` use, such as tables
    def samplers(self, names: tuple[str, ...]) -> Samplers: ...  # which of these are done where a record is read
    def augmented(self, inputs: dict, seed: tuple, names: tuple[str, ...]) -> dict: ...  # tensors of a batch
    def signatures(self) -> Iterator[tuple[str, dict[str, Spec], Callable]]: ...  # of a SavedModel
    def calibration(self, arrays: Arrays) -> Arrays: ...  # what the ranges of integers are set by
    def tensor_metadata(self, schema) -> Any: ...  # what a TFLite file says of its input


def named(kind: str):
    """The class of an input."""
    if kind not in INPUTS:
        raise unknown("input", str(kind), INPUTS, ArtifactError)
    return getattr(import_module(f"cnn_app.inputs.{kind}"), kind.capitalize())


def of_row(row, known: Mapping) -> Input:
    """The input of a network's row; `known` are facts of one that learned before."""
    return named(row.input).of_row(row, known)


def of_facts(facts: Mapping) -> Input:
    """The input that a card or a file tells of."""
    return named(facts.get("kind", "image")).of_facts(facts)


def of_specs(specs: dict[str, Spec]) -> Input | None:
    """The input that a file takes which says nothing of itself; None if it is none that can be recognised."""
    found = (named(kind).of_specs(specs) for kind in INPUTS)
    return next((one for one in found if one is not None), None)


def by_encoded(signature: str):
    """The class of the input whose encoded records a signature takes, if there is one."""
    return next((named(kind) for kind in INPUTS if named(kind).encoded == signature), None)
