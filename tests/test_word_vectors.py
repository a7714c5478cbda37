"""Word vectors from text files, and what is no such file."""

import struct

import numpy as np
import pytest

from cnn_app.errors import DataError
from cnn_app.inputs import word_vectors

VOCABULARY = ["", "<unk>", "cat", "dog", "Käse", ". . ."]
LINES = ["the 0 0 0", "cat 1 2 -3.5e-1", "Käse 4 5 6", ". . . 7 8 9", "cat 0 0 0"]


def written(tmp_path, content):
    path = tmp_path / "vectors.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    ["\n".join(LINES), "\n".join(["5 3", *LINES, ""]), "".join(f"{line} \r\n" for line in LINES)],
    ids=["GloVe", "word2vec", "spaces and carriage returns at the ends"],
)
def test_known_words_have_their_vectors_and_others_random_ones(tmp_path, content):
    path = written(tmp_path, content)
    matrix, found = word_vectors.read(path, VOCABULARY)
    assert matrix.shape == (6, 3) and matrix.dtype == np.float32 and found == 3
    np.testing.assert_array_equal(matrix[0], 0)
    np.testing.assert_array_equal(matrix[[2, 4, 5]], np.float32([[1, 2, -0.35], [4, 5, 6], [7, 8, 9]]))
    assert matrix[[1, 3]].all() and np.abs(matrix[[1, 3]]).max() <= 0.25
    np.testing.assert_array_equal(word_vectors.read(path, VOCABULARY)[0], matrix)
    other = word_vectors.read(path, VOCABULARY, width=3, seed=1)[0]
    assert (other[[1, 3]] != matrix[[1, 3]]).all() and (other[[0, 2]] == matrix[[0, 2]]).all()


def test_the_padding_is_zero_even_where_the_file_knows_it(tmp_path):
    matrix, found = word_vectors.read(written(tmp_path, "pad 1 2\ncat 3 4"), ["pad", "cat"])
    assert found == 1 and matrix.tolist() == [[0, 0], [3, 4]]


BAD = {
    "empty": (b"", "is empty"),
    "only a header": (b"3 2\n", "is empty"),
    "no values": (b"cat\ndog\n", "of 0 values; at least one is needed"),
    "ragged, shorter": (b"cat 1 2 3\ndog 1 2\n", "line 2 of .* has 2 values instead of 3"),
    "ragged, longer": (b"cat 1 2 3\ndog 1 2 3 4\n", "line 2 of .* has 4 values instead of 3"),
    "a blank line": (b"cat 1 2\n\ndog 1 2\n", "line 2 of .* has 0 values"),
    "not a number": (b"the 1 2\ncat 1 two\n", "line 2 of .* 'two'"),
    "NaN": (b"the 1 2\ncat 1 nan\n", "line 2 of .* not finite"),
    "too large for float32": (b"cat 1 1e39\n", "line 1 of .* not finite"),
    "not UTF-8": ("the 1 2\nKäse 1 2\n".encode("latin-1"), "line 2 of .* is no UTF-8"),
    "binary": (b"2 3\ncat " + struct.pack("3f", 1, 2, -3) + b"dog " + struct.pack("3f", 4, 5, 6), "not the binary one"),
    "one endless line": (b"cat " + b"1 " * 2**16, "line 1 of .* longer than 64 KiB"),
    "cut off": (b"3 2\ncat 1 2\ndog 3 4\n", "has 2 words and announces 3"),
    "a mad header": (b"3 999999999\ncat 1 2\n", "line 2 of .* has 2 values instead of 999999999"),
    "a number without end": (b"3 " + b"9" * 5000 + b"\ncat 1 2\n", "line 2 of .* has 2 values instead of 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_file_of_vectors_is_refused(tmp_path, case):
    content, text = BAD[case]
    with pytest.raises(DataError, match=text):
        word_vectors.read(written(tmp_path, content), VOCABULARY)


def test_the_width_has_to_be_that_of_the_network(tmp_path):
    with pytest.raises(DataError, match="of 2 values; 300 are needed"):
        word_vectors.read(written(tmp_path, "cat 1 2"), VOCABULARY, width=300)


def test_no_more_lines_than_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(word_vectors, "MAX_LINES", 2)
    with pytest.raises(DataError, match="more than 2 lines"):
        word_vectors.read(written(tmp_path, "a 1\nb 2\nc 3\n"), VOCABULARY)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="cannot read .*No such file"):
        word_vectors.read(tmp_path / "none.txt", VOCABULARY)
