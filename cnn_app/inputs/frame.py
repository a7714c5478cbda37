"""The size that a network takes images in, and how those of other sizes are brought to it."""

from __future__ import annotations

from dataclasses import dataclass

from cnn_app.inputs.base import Base
from cnn_app.registry import CROP_SHARE, STRETCH


@dataclass(frozen=True)
class Frame(Base):
    """Height, width, channels; `resize` and `crop_share` are as `framing` has them."""

    shape: tuple[int, int, int]
    resize: str = STRETCH
    crop_share: float = CROP_SHARE
