"""How much of some data is for training, for choosing the checkpoint, and for testing."""

from __future__ import annotations

import re
from fractions import Fraction

from cnn_app.errors import RecipeError

SHARES = "70/15/15"  # of train, val and test in percent, where nothing is said
BY_NAME = "by-name"  # in the place of shares: as 0.1.0 divided


def shares_of(text: str) -> tuple[Fraction, Fraction, Fraction]:
    """70/15/15 -> percents of train, val and test."""
    parts = text.split("/")
    whole = len(parts) == 3 and all(re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?", part) for part in parts)
    train, val, test = map(Fraction, parts) if whole else (Fraction(0),) * 3
    if min(train, val, test) <= 0 or train + val + test != 100:
        raise RecipeError(f"split is train/val/test in percent, above 0 and 100 together, such as {SHARES}; received "
                          f"{text!r}")  # fmt: skip
    return train, val, test
