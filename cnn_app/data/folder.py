"""A folder of data, with or without train/, val/ and test/ in it."""

from __future__ import annotations

from pathlib import Path

from cnn_app.data.dataset import SPLITS
from cnn_app.errors import DataError


def split_folders(root: Path) -> dict[str, Path]:
    """split -> its folder. Without split folders everything is `train`."""
    if not root.is_dir():
        raise DataError(f"no data at {str(root)!r}; give digits, shapes, tfds:NAME or a folder")
    folders = {name: root / name for name in SPLITS if (root / name).is_dir()}
    if folders and "train" not in folders:
        raise DataError(f"{root} has {', '.join(folders)} but no train/; add it, or put everything directly in {root}")
    return folders or {"train": root}
