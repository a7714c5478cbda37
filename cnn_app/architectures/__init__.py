"""One module per family: the paper, a dataclass of columns, VARIANTS (one row per variant), build(), features()."""
