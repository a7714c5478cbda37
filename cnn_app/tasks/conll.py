"""Tagged sentences as CoNLL's tasks have them: a word a line, its tag in the last column, an empty line between two."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cnn_app.data.dataset import Split, in_memory
from cnn_app.errors import DataError
from cnn_app.inputs import Input
from cnn_app.inputs.files import text
from cnn_app.inputs.sentences import MAX_FILE_BYTES
from cnn_app.tasks.bio import ABSENT, OUTSIDE, PARTS, is_bio, scheme

WORDS = "words"  # of a split: what goes into a network
TARGET = "tags"  # places of tags among the labels, int32 (n, words), ABSENT behind a sentence

NAMES = {  # what is in the name of a split's file, between other things than letters or behind the name of a set
    "train": "train(ing)?",
    "val": "dev(el|elopment)?|val(id|idation)?|testa",
    "test": "test(ing|b)?",
}
DOCUMENT = "-DOCSTART-"  # the word of a line that begins a document
MOST_TAGS = 1000  # a last column of more is none of tags


@dataclass
class Sentences:
    """Those of a file: their names, with the line that each begins in, their words between spaces, and their tags."""

    names: list[str] = field(default_factory=list)
    records: list[bytes] = field(default_factory=list)
    tags: list[list[str]] = field(default_factory=list)


def load(root: Path, encoding: str, taken: Input) -> tuple[tuple[str, ...], dict[str, Split]]:
    """Tags, and splits for a network that takes `taken`, whose `length` sentences must not exceed."""
    try:
        found = {name: read(file, root, encoding) for name, file in places(root).items()}
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror}") from error
    labels = labels_of(str(root), {name: one.tags for name, one in found.items()})
    known, splits = {label: place for place, label in enumerate(labels)}, {}
    for name, one in found.items():
        tags = _absent(len(one.tags), taken)
        for row, given in zip(tags, one.tags, strict=True):  # one that is too long is refused as it is read
            row[: len(given)] = [known[tag] for tag in given[: len(row)]]
        splits[name] = Split(one.names, taken.raw(one.records), {TARGET: in_memory(tags)})
    return labels, splits


def checked(source: str, split: Split, labels: tuple[str, ...], taken: Input) -> Split:
    """Records of others' making: words between spaces, and a tag for each of them."""
    has = {*split.inputs, *split.targets}
    if has != {WORDS, TARGET}:
        raise DataError(f"{source} has {', '.join(sorted(has))}; {WORDS} and {TARGET} are needed")
    sentences, tags = split.inputs[WORDS].array, np.asarray(split.targets[TARGET].array)
    if tags.ndim != 2 or tags.dtype.kind not in "iu" or not ((tags >= ABSENT) & (tags < len(labels))).all():
        raise DataError(f"{source}: {TARGET} are integers (n, words) from {ABSENT} to {len(labels) - 1}, received "
                        f"{tags.dtype} {tags.shape}")  # fmt: skip
    counts = np.array([len(sentence.split()) for sentence in sentences], int)
    ends = np.arange(tags.shape[1]) < counts[:, None]
    if counts.max(initial=0) > tags.shape[1] or ((tags >= 0) != ends).any():
        raise DataError(f"{source}: a sentence has other numbers of words and of {TARGET}; {ABSENT} stands behind")
    whole = _absent(len(tags), taken)
    whole[:, : tags.shape[1]] = scheme(labels).repaired(tags.astype(np.int32))[:, : whole.shape[1]]
    return Split(split.names, taken.raw(list(sentences)), {TARGET: in_memory(whole)})


def _absent(count: int, taken: Input) -> np.ndarray:
    return np.full((count, taken.specs()[WORDS].shape[1]), ABSENT, np.int32)


def places(root: Path) -> dict[str, Path]:
    """split -> its file, of a folder; one file alone is train."""
    if root.is_file():
        return {"train": root}
    if not root.is_dir():
        raise DataError(f"no data at {str(root)!r}; give a file of tagged words, or a folder with one for each split")
    found: dict[str, Path] = {}
    for file in sorted(one for one in root.iterdir() if one.is_file() and not one.name.startswith(".")):
        for split in _splits(file.name):
            if split in found:
                raise DataError(f"{root} has {found[split].name} and {file.name} for {split}; leave one of them there")
            if file in found.values():
                raise DataError(f"{file} is named as a file of two splits; name it as one of train, dev and test")
            found[split] = file
    if "train" not in found:
        has = ", ".join(file.name for file in found.values()) or "no file of a split"
        raise DataError(f"{root} has {has}; a file with train in its name is needed, others with dev or val, and test")
    return found


def _splits(name: str) -> list[str]:
    """By the parts of a name in letters, such as wnut17train.conll's."""
    parts = re.findall("[a-z]+", name.lower())
    return [split for split, pattern in NAMES.items() if any(re.fullmatch(pattern, part) for part in parts)]


def read(file: Path, root: Path, encoding: str) -> Sentences:
    """Raises DataError, with the line, for what is no such file. Columns are parted by tabs or else by spaces."""
    found, rows, begin, columns = Sentences(), [], 1, 0
    name = file.name if file == root else file.relative_to(root).as_posix()
    for number, line in enumerate([*text(file, encoding, MAX_FILE_BYTES).split("\n"), ""], start=1):
        line = line.rstrip("\r")
        if not line.strip() or line.split()[0] == DOCUMENT:
            if rows:
                _add(found, f"{name}:{begin}", rows)
            rows, begin = [], number + 1
            continue
        cells = [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()
        columns = columns or len(cells)
        if len(cells) < 2 or len(cells) != columns:
            more = f"s, {columns} before it" if len(cells) != columns else ""
            raise DataError(f"{file}:{number} has {len(cells)} column{more}; a word and its tag are needed, an empty "
                            "line between sentences")  # fmt: skip
        if not cells[0] or not cells[-1]:
            raise DataError(f"{file}:{number} has an empty {'word' if cells[-1] else 'tag'}; add it or remove the line")
        if len(parts := cells[0].split()) > 1:
            raise DataError(f"{file}:{number} has {len(parts)} words in one, {cells[0][:80]!r}; give each a line")
        rows.append((cells[0], cells[-1]))
    if not found.names:
        raise DataError(f"{file} has no words; a word and its tag a line are needed")
    return found


def _add(found: Sentences, name: str, rows: list[tuple[str, str]]) -> None:
    found.names.append(name)
    found.records.append(" ".join(word for word, _ in rows).encode())
    found.tags.append([tag for _, tag in rows])


def labels_of(source: str, files: Mapping[str, Iterable[list[str]]]) -> tuple[str, ...]:
    """The tags of train, which others must not go beyond; split -> sentences of tags, which are repaired in place."""
    known = {split: {tag for tags in rows for tag in tags} for split, rows in files.items()}
    every = set().union(*known.values())
    strange = sorted(tag for tag in every if tag != OUTSIDE and not PARTS.fullmatch(tag))
    if strange and any(PARTS.fullmatch(tag) for tag in every):
        raise DataError(f"{source} has the tag {strange[0]!r} among those of IOB, which are O, B-TYPE and I-TYPE; "
                        "rewrite it as one of them")  # fmt: skip
    if len(every) > MOST_TAGS:
        raise DataError(f"{source} has {len(every):,} tags; at most {MOST_TAGS:,} are, in the last column")
    if is_bio(sorted(every)):
        for rows in files.values():
            for tags in rows:
                tags[:] = repaired(tags)
        known = {split: {tag for tags in rows for tag in tags} for split, rows in files.items()}
    for split, tags in known.items():
        if extra := sorted(tags - known["train"]):
            raise DataError(f"{source}: {split} has the tag {extra[0]!r}, which train lacks; add it there or remove it")
    return tuple(sorted(known["train"]))


def repaired(tags: list[str]) -> list[str]:
    """An I- that follows nothing of its type as B-."""
    before = [OUTSIDE, *tags]
    return [f"B{tag[1:]}" if tag.startswith("I-") and before[i][2:] != tag[2:] else tag for i, tag in enumerate(tags)]
