"""Masks as pictures: the colours of classes, masks over their images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnn_app.tasks.drawing import picture, save

VOID_COLOUR = "#000000"


def colours(classes: int) -> np.ndarray:
    """RGBA of each class, uint8 (classes, 4): of two the first is see-through, as it mostly is the ground."""
    from matplotlib import colormaps

    map_ = colormaps["tab10" if classes <= 10 else "tab20" if classes <= 20 else "gist_rainbow"]
    points = np.arange(classes) if classes <= 20 else np.linspace(0, 1, classes)
    found = np.round(255 * np.array([map_(point) for point in points])).astype(np.uint8)
    found[:, 3] = 255
    if classes == 2:
        found[0, 3] = 0
    return found


def legend(classes: int) -> list[str]:
    """As in CSS: #rrggbb, and #rrggbbaa of what is see-through."""
    return [f"#{bytes(colour).hex().removesuffix('ff')}" for colour in colours(classes)]


def margins(mask: Sequence[int], image: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """What lacks above and below, left and right of a map (h, w) in the middle of an image (H, W)."""
    (height, width), (high, wide) = image, mask
    return tuple((less // 2, less - less // 2) for less in (height - high, width - wide))


def overlay(mask: np.ndarray, classes: int, sides: Sequence[int]) -> np.ndarray:
    """A coloured picture of a mask (h, w) as large as its image, uint8 RGBA; nothing where there is no mask."""
    return np.pad(colours(classes)[mask], (*margins(mask.shape, sides), (0, 0)))


def painted(image: np.ndarray, mask: np.ndarray, classes: int) -> np.ndarray:
    """An image (h, w, 1 or 3) half covered by the colours of its mask (h, w); uint8 (h, w, 3)."""
    table = np.tile(np.array([*bytes.fromhex(VOID_COLOUR[1:]), 255], np.float32), (256, 1))
    table[:classes] = colours(classes)
    over = table[mask]
    share = over[..., 3:] / 255 / 2
    return np.round(image * (1 - share) + over[..., :3] * share).astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def draw(image: np.ndarray, mask: np.ndarray, labels: Sequence[str], name: str, path: Path) -> None:
    """The image, and beside it the same under its mask, with a legend; a map that is smaller lies in the middle."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    shown = overlay(mask, len(labels), image.shape[:2])
    figure = Figure((10, 5.4), layout="constrained")
    for place, (axes, title) in enumerate(zip(figure.subplots(1, 2), (name, "found"), strict=True)):
        picture(axes, image)
        if place:
            axes.imshow(shown, alpha=0.5, interpolation="nearest")
        axes.set(title=title)
    there = np.unique(mask)
    hues = colours(len(labels)) / 255
    patches = [Patch(facecolor=hues[i], edgecolor="0.4", label=f"{labels[i]} {(mask == i).mean():.1%}") for i in there]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(6, len(patches)), fontsize=8)
    save(figure, path, dpi=110)
