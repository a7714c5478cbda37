"""A text cut into words, and what is known of a word: all of it by operators that a graph can take along."""

from __future__ import annotations

NUMBER = "NUMBER"  # what stands for digits: no lower-cased word has such letters
CAPITALS = (  # what a word is, from the last that fits, in RE2: ids from 1 on
    r".*",
    r".*\p{Lu}.*",  # capitals beside others
    r"\p{Lu}.*",  # the first
    r"[^\p{Ll}]*\p{Lu}[^\p{Ll}]*",  # all
)
MARK = "\x01"  # behind each piece of a text
CLITICS = r"(['\x{2019}](?i:s|m|d|ll|re|ve))\b"
SPACE = r"[\s\p{Z}\p{Cc}]"
LETTER = r"[\p{L}\p{M}\p{N}_]"
TOKENS = "|".join((
    r"(?i:https?://|www\.)[^\s\p{Z}\p{Cc}]*[^\s\p{Z}\p{Cc}.,;:!?)\]'\"\x{2019}\x{201D}]",
    r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
    rf"[@#]{LETTER}+",
    CLITICS,
    r"\p{N}+(?:[.,:/]\p{N}+)+",
    r"(?:\p{Lu}\.){2,}",
    rf"{LETTER}+(?:['\x{{2019}}&-]{LETTER}+)*",
    rf"{SPACE}+",
    r"\.+|!+|\?+|-+",
    r"(?s:.)",
))  # fmt: skip


def cut(text):
    """Texts (n,) -> their words, and where these begin and end in characters: three ragged (n, words).

    A mark is put behind each piece, so what lies between marks is the text again, and lengths add up to places.
    """
    import tensorflow as tf

    text = tf.strings.regex_replace(tf.convert_to_tensor(text, tf.string), MARK, " ")
    text = tf.strings.regex_replace(text, CLITICS, rf"{MARK}\1")
    pieces = tf.strings.split(tf.strings.regex_replace(text, f"({TOKENS})", rf"\1{MARK}"), MARK)
    lengths = tf.strings.length(pieces.flat_values, unit="UTF8_CHAR")
    before = tf.concat([[0], tf.cumsum(lengths)], 0)
    starts = before[:-1] - tf.gather(tf.gather(before, pieces.row_starts()), pieces.value_rowids())
    kept = pieces.with_flat_values(~tf.strings.regex_full_match(pieces.flat_values, f"{SPACE}*"))
    return [tf.ragged.boolean_mask(pieces.with_flat_values(values), kept)
            for values in (pieces.flat_values, starts, starts + lengths)]  # fmt: skip


def keys_of(words):
    """Words (n,) as the vocabulary has them."""
    import tensorflow as tf

    return tf.strings.regex_replace(tf.strings.lower(words, encoding="utf-8"), r"\p{Nd}+", NUMBER)


def endings_of(keys, letters: int):
    """The last letters of each (n,), or all of a shorter one."""
    import tensorflow as tf

    return tf.strings.regex_replace(keys, f"^.*({'.' * letters})$", r"\1")


def capitals_of(words):
    """How words (n,) have capitals: 1 not at all, 2 somewhere, 3 the first letter, 4 all of them."""
    import tensorflow as tf

    found = [tf.cast(tf.strings.regex_full_match(words, pattern), tf.int32) * place
             for place, pattern in enumerate(CAPITALS, start=1)]  # fmt: skip
    return tf.maximum(1, tf.reduce_max(tf.stack(found), 0))
