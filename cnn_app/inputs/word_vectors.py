"""Word vectors that were learned elsewhere, from the text files of word2vec, GloVe and fastText.

A line is a word and its values; the first one may be the number of words and of values instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import count
from typing import BinaryIO

import numpy as np

from cnn_app.errors import DataError

MAX_LINE_BYTES = 2**16
MAX_LINES = 20_000_000
PADDING = 0  # the id whose vector is zero
REACH = 0.25  # of a random value: near the variance of word2vec's (arXiv:1408.5882, section 4.3)


def read(
    path: str | os.PathLike[str], vocabulary: Sequence[str], *, width: int | None = None, seed: int = 0
) -> tuple[np.ndarray, int]:
    """Vectors (len(vocabulary), width) as float32, and how many of the words the file knows.

    vocabulary: the words by id; whatever stands at 0 is the padding, and zero. A word that the file does not know gets
        values from [-0.25, 0.25] that follow from `seed`; of one that it has twice the first counts.
    width: what it has to be; by default it is the file's.
    Raises DataError for a file that is none; numbers are read of the words that are wanted.
    """
    try:
        with open(path, "rb") as file:
            return _read(file, os.fspath(path), vocabulary, width, seed)
    except OSError as error:
        raise DataError(f"cannot read {os.fspath(path)}: {error.strerror}") from error


def _read(file: BinaryIO, path: str, vocabulary: Sequence[str], width: int | None, seed: int):
    lines = _lines(file, path)
    number, first = next(lines, (0, ""))
    header = first.split(" ")
    declared = None
    if len(header) == 2 and all(field.isdecimal() and len(field) < 10 for field in header):
        declared, wide = map(int, header)
        number, first = next(lines, (0, ""))
    else:
        wide = len(header) - 1
    if not first:
        raise DataError(f"{path} is empty; word vectors as text are needed")
    if wide < 1 or width not in (None, wide):
        needed = "at least one is" if width is None else f"{width} are"
        raise DataError(f"{path} has vectors of {wide} values; {needed} needed")
    _parted(first, wide, f"line {number} of {path}")  # before what a first line announces is made room for
    matrix = np.random.default_rng(seed).uniform(-REACH, REACH, (len(vocabulary), wide)).astype(np.float32)
    wanted = {word: row for row, word in enumerate(vocabulary) if row != PADDING}
    found, line = 0, first
    while True:
        word, values = _parted(line, wide, f"line {number} of {path}")
        row = wanted.pop(word, None)
        if row is not None:
            matrix[row] = _floats(values, f"line {number} of {path}")
            found += 1
        following = next(lines, None)
        if following is None:
            break
        number, line = following
    words = number - (declared is not None)
    if declared not in (None, words):
        raise DataError(f"{path} has {words} words and announces {declared}; it is cut off, or its first line is wrong")
    matrix[PADDING : PADDING + 1] = 0
    return matrix, found


def _lines(file: BinaryIO, path: str) -> Iterator[tuple[int, str]]:
    """(number, line) from 1 on, without its end."""
    for number in count(1):
        line = file.readline(MAX_LINE_BYTES + 1)
        if not line:
            return
        if len(line) > MAX_LINE_BYTES:
            raise DataError(f"line {number} of {path} is longer than {MAX_LINE_BYTES >> 10} KiB; vectors as text "
                            f"have one word to a line")  # fmt: skip
        if number > MAX_LINES:
            raise DataError(f"{path} has more than {MAX_LINES:,} lines")
        try:
            yield number, line.decode("utf-8").rstrip(" \r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"line {number} of {path} is no UTF-8; of word2vec's files the text form is needed, "
                            f"not the binary one (.bin)") from error  # fmt: skip


def _parted(line: str, width: int, where: str) -> tuple[str, str]:
    """A line as its word, which may have spaces in it, and its values."""
    if line.count(" ") == width:
        word, _, values = line.partition(" ")
        return word, values
    word, *fields = line.rsplit(" ", width)
    if len(fields) == width and not _is_number(word.rpartition(" ")[2]):
        return word, " ".join(fields)
    raise DataError(f"{where} has {line.count(' ')} values instead of {width}")


def _floats(values: str, where: str) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):
            vector = np.array([float(field) for field in values.split(" ")]).astype(np.float32)
    except ValueError as error:
        raise DataError(f"{where}: {str(error)[:100]}") from error
    if not np.isfinite(vector).all():
        raise DataError(f"{where} has values that are not finite")
    return vector


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
